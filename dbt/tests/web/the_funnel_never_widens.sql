-- A step that more sessions took than the one before it.
select
    day,
    region,
    campaign,
    sessions,
    product_view_sessions,
    cart_sessions,
    checkout_sessions,
    purchase_sessions
from {{ ref('funnel') }}
where
    product_view_sessions > sessions
    or cart_sessions > product_view_sessions
    or checkout_sessions > cart_sessions
    or purchase_sessions > checkout_sessions
