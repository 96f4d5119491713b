{{ config(materialized='view') }}

select
    refund_id,
    line,
    refunded_at,
    refund_day,
    order_id,
    customer_id,
    region,
    currency,
    product_id,
    category,
    quantity,
    amount,
    reason
from {{ ref('stg_refund_lines') }}
