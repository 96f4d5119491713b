{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='customer_id',
    indexes=[{'columns': ['customer_id']}]
) }}

with months as (
    select
        customer_id,
        {{ month_of('order_day') }} as order_month,
        count(*) as orders,
        {{ total_money('sales_amount') }} as sales_amount
    from {{ ref('int_orders') }}
    where {{ changed('customer_id') }}
    group by
        customer_id,
        {{ month_of('order_day') }}
)

select
    customer_id,
    min(order_month) over (partition by customer_id) as cohort_month,
    order_month,
    orders,
    sales_amount
from months
