select
    event_id,
    line,
    occurred_at,
    refund_id,
    order_id,
    customer_id,
    region,
    currency,
    product_id,
    category,
    quantity,
    {{ money('amount') }} as amount,
    reason
from order_refunded_lines
