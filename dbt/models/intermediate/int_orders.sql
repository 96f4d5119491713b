{{ config(
    materialized='by_day',
    day='order_day',
    indexes=[{'columns': ['order_day']}, {'columns': ['customer_id']}],
    feeds={
        'int_customers': 'customer_id',
        'int_customer_months': 'customer_id',
        'int_order_costs': 'order_day'
    }
) }}

with lines as (
    select *
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at') }}
)

select
    order_id,
    ordered_at,
    order_day,
    customer_id,
    region,
    channel,
    currency,
    session_id,
    cast(count(*) as bigint) as lines,
    {{ total_count('quantity') }} as units,
    {{ total_money('gross_amount') }} as gross_amount,
    {{ total_money('discount_amount') }} as discount_amount,
    {{ total_money('sales_amount') }} as sales_amount
from lines
group by
    order_id,
    ordered_at,
    order_day,
    customer_id,
    region,
    channel,
    currency,
    session_id
