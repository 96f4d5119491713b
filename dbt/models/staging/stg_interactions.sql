select
    event_id,
    occurred_at,
    {{ shop_day('occurred_at') }} as day,
    session_id,
    session_started_at,
    {{ shop_day('session_started_at') }} as session_day,
    interaction,
    user_id as customer_id,
    product_id,
    order_id,
    region,
    campaign
from {{ source('events', 'interactions') }}
