select
    event_id,
    occurred_at,
    source,
    order_id,
    placed_at,
    region
from order_cancelled
