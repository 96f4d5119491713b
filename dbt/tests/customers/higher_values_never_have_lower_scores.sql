{#- Scores follow what they score, and equal values have equal ones. -#}
with bounds as (
    select
        'recency' as measure,
        recency_score as score,
        -max(recency_days) as least,
        -min(recency_days) as most
    from {{ ref('rfm') }}
    group by
        recency_score
    union all
    select
        'frequency' as measure,
        frequency_score as score,
        min(frequency) as least,
        max(frequency) as most
    from {{ ref('rfm') }}
    group by
        frequency_score
    union all
    select
        'monetary' as measure,
        monetary_score as score,
        min(monetary) as least,
        max(monetary) as most
    from {{ ref('rfm') }}
    group by
        monetary_score
)

select
    lower_score.measure,
    lower_score.score
from bounds as lower_score
inner join bounds as higher_score
    on
        lower_score.measure = higher_score.measure
        and lower_score.score < higher_score.score
where lower_score.most >= higher_score.least
