{{ config(materialized='by_day', day='order_day', onwards=true, indexes=[{'columns': ['order_day']}]) }}

{#- A customer's first day decides who is new on every day after it: hence `onwards`. Asked of who orders alone. -#}
with lines as (
    select *
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at') }}
),

ordering as (
    select distinct customer_id
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at') }}
),

first_days as (
    select
        customer_id,
        min(order_day) as first_day
    from {{ ref('stg_customer_days') }}
    where customer_id in (select customer_id from ordering)
    group by
        customer_id
),

lines_of_customers as (
    select
        lines.order_day,
        lines.region,
        lines.category,
        lines.order_id,
        lines.customer_id,
        lines.quantity,
        lines.gross_amount,
        lines.discount_amount,
        case when first_days.first_day = lines.order_day then lines.customer_id end as new_customer_id
    from lines
    left join first_days on lines.customer_id = first_days.customer_id
)

select
    order_day,
    {{ level_of('region', 'category') }} as level,
    region,
    category,
    cast(count(distinct order_id) as bigint) as orders,
    {{ total_count('quantity') }} as units,
    {{ total_money('gross_amount') }} as gross_amount,
    {{ total_money('discount_amount') }} as discount_amount,
    cast(count(distinct customer_id) as bigint) as customers,
    cast(count(distinct new_customer_id) as bigint) as new_customers
from lines_of_customers
group by
    grouping sets (
        (order_day, region, category),
        (order_day, region),
        (order_day, category),
        (order_day)
    )
