{#- Platforms correct a day for days: the statement made last counts. -#}
with ranked as (
    select
        channel,
        campaign,
        day,
        amount,
        clicks,
        row_number() over (
            partition by source, channel, campaign, day
            order by occurred_at desc, {{ by_code_point('event_id') }} desc
        ) as nth_from_last
    from {{ source('events', 'ad_spend') }}
)

select
    channel,
    campaign,
    day,
    amount,
    clicks
from ranked
where nth_from_last = 1
