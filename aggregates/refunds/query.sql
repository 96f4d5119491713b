select
    event_id,
    occurred_at,
    refund_id,
    order_id,
    customer_id,
    region,
    currency,
    {{ money('amount') }} as amount,
    {{ money('shipping_amount') }} as shipping_amount,
    {{ money('tax_amount') }} as tax_amount,
    reason
from order_refunded
