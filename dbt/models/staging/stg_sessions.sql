select
    session_id,
    {{ shop_day('window_start') }} as session_day,
    window_start,
    started_at,
    ended_at,
    region,
    campaign,
    user_id as customer_id,
    page_views,
    product_views,
    carts,
    checkouts,
    purchases
from {{ source('live', 'sessions') }}
