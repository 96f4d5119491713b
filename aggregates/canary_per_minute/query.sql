with canaries as (
    select
        {{ window_start('minute', 'occurred_at') }} as window_start,
        amount
    from canary_sent
)

select
    window_start,
    count(*) as canaries,
    {{ money('sum(amount)') }} as amount
from canaries
group by
    window_start
