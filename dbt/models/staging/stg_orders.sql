select
    order_id,
    occurred_at as ordered_at,
    {{ shop_day('occurred_at') }} as order_day,
    source,
    customer_id,
    region,
    channel,
    currency,
    shipping_amount,
    tax_amount,
    {{ money('coalesce(tip_amount, 0)') }} as tip_amount,
    {{ money('coalesce(duties_amount, 0)') }} as duties_amount,
    {{ money('coalesce(gift_card_amount, 0)') }} as gift_card_amount,
    total_amount,
    paid_at,
    fulfilled_at,
    cancelled_at
from {{ source('events', 'orders') }}
