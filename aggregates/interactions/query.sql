select
    event_id,
    occurred_at,
    session_id,
    session_started_at,
    interaction,
    user_id,
    product_id,
    order_id,
    page,
    referrer,
    campaign,
    region
from interaction
