select
    event_id,
    occurred_at,
    refund_id,
    order_id,
    customer_id,
    region,
    currency,
    {{ money('amount') }} as amount,
    reason
from order_refunded
