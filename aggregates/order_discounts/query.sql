select
    event_id,
    discount,
    occurred_at,
    order_id,
    region,
    currency,
    code,
    title,
    {{ money('amount') }} as amount
from order_placed_discounts
