-- A day and region whose orders or revenue differ between the touches.
with touches as (
    select
        day,
        region,
        sum(case when touch = 'first' then orders else -orders end) as orders,
        sum(case when touch = 'first' then revenue else -revenue end) as revenue
    from {{ ref('attribution') }}
    group by
        day,
        region
)

select
    day,
    region,
    orders,
    revenue
from touches
where
    orders <> 0
    or revenue <> 0
