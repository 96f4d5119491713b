{{ config(materialized='view') }}

select
    refund_id,
    refunded_at,
    refund_day,
    order_id,
    customer_id,
    region,
    currency,
    goods_amount,
    other_amount,
    amount,
    reason
from {{ ref('stg_refunds') }}
