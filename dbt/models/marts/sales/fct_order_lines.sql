{{ config(materialized='view') }}

select
    order_id,
    line,
    ordered_at,
    order_day,
    customer_id,
    region,
    channel,
    currency,
    session_id,
    product_id,
    category,
    brand,
    quantity,
    unit_price,
    gross_amount,
    discount_amount,
    sales_amount
from {{ ref('stg_order_lines') }}
