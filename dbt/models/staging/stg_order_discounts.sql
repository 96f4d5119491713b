select
    order_id,
    discount,
    occurred_at as ordered_at,
    {{ shop_day('occurred_at') }} as order_day,
    region,
    currency,
    code,
    title,
    amount
from {{ source('events', 'order_discounts') }}
