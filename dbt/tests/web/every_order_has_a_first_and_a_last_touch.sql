-- A day and region whose orders or sales differ between the touches.
with touches as (
    select
        day,
        region,
        sum(case when touch = 'first' then orders else -orders end) as orders,
        sum(case when touch = 'first' then sales_amount else -sales_amount end) as sales_amount
    from {{ ref('attribution') }}
    group by
        day,
        region
)

select
    day,
    region,
    orders,
    sales_amount
from touches
where
    orders <> 0
    or sales_amount <> 0
