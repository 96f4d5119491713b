with months as (
    select
        cohort_month,
        order_month,
        count(*) as active_customers,
        sum(orders) as orders,
        sum(sales_amount) as sales_amount
    from {{ ref('int_customer_months') }}
    group by
        cohort_month,
        order_month
),

active as (
    select
        cohort_month,
        {{ months_between('cohort_month', 'order_month') }} as months_since,
        active_customers,
        orders,
        sales_amount
    from months
),

newest as (
    select max(order_month) as newest_month
    from months
),

{#- In its first month everybody of a cohort is active. -#}
cells as (
    select
        active.cohort_month,
        numbers.n as months_since,
        active.active_customers as cohort_customers
    from active
    cross join newest
    inner join {{ whole_numbers() }} as numbers
        on numbers.n <= {{ months_between('active.cohort_month', 'newest.newest_month') }}
    where active.months_since = 0
)

select
    cells.cohort_month,
    cells.months_since,
    cells.cohort_customers,
    coalesce(active.active_customers, 0) as active_customers,
    {{ ratio('coalesce(active.active_customers, 0)', 'cells.cohort_customers') }} as retention,
    cast(coalesce(active.orders, 0) as bigint) as orders,
    {{ money('coalesce(active.sales_amount, 0)') }} as sales_amount
from cells
left join active
    on
        cells.cohort_month = active.cohort_month
        and cells.months_since = active.months_since
