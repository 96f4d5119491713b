with segments as (
    select
        coalesce(sum(customers), 0) as customers,
        coalesce(sum(lifetime_value), 0) as lifetime_value
    from {{ ref('rfm_segments') }}
),

customers as (
    select
        count(*) as customers,
        coalesce(sum(lifetime_value), 0) as lifetime_value
    from {{ ref('dim_customers') }}
    where orders > 0
)

select *
from segments
cross join customers
where
    segments.customers <> customers.customers
    or segments.lifetime_value <> customers.lifetime_value
