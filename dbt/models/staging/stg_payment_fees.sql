select
    fee_id,
    occurred_at as charged_at,
    {{ shop_day('occurred_at') }} as fee_day,
    source,
    order_id,
    provider,
    amount,
    currency
from {{ source('events', 'payment_fees') }}
