select
    event_id,
    occurred_at,
    source,
    fee_id,
    order_id,
    provider,
    {{ money('amount') }} as amount,
    currency
from fee_charged
