{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='customer_id',
    indexes=[{'columns': ['customer_id']}]
) }}

with orders as (
    select
        customer_id,
        ordered_at,
        order_day,
        region,
        units,
        sales_amount,
        min(order_day) over (partition by customer_id) as first_day,
        row_number() over (
            partition by customer_id
            order by ordered_at desc, {{ by_code_point('order_id') }} desc
        ) as nth_from_last
    from {{ ref('int_orders') }}
    where {{ changed('customer_id') }}
)

select
    customer_id,
    min(ordered_at) as first_order_at,
    max(ordered_at) as last_order_at,
    min(order_day) as first_day,
    max(order_day) as last_day,
    count(distinct order_day) as order_days,
    count(*) as orders,
    {{ total_count('units') }} as units,
    {{ total_money('sales_amount') }} as sales_amount,
    {{ total_money('case when order_day > first_day then sales_amount end') }} as repeat_amount,
    max(case when nth_from_last = 1 then region end) as last_region
from orders
group by
    customer_id
