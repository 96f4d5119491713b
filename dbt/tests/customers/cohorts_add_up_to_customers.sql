with cohorts as (
    select
        coalesce(sum(cohort_customers) filter (where months_since = 0), 0) as customers,
        coalesce(sum(orders), 0) as orders,
        coalesce(sum(sales_amount), 0) as sales_amount
    from {{ ref('cohorts') }}
),

customers as (
    select
        count(*) filter (where orders > 0) as customers,
        coalesce(sum(orders), 0) as orders,
        coalesce(sum(sales_amount), 0) as sales_amount
    from {{ ref('dim_customers') }}
)

select *
from cohorts
cross join customers
where
    cohorts.customers <> customers.customers
    or cohorts.orders <> customers.orders
    or cohorts.sales_amount <> customers.sales_amount
