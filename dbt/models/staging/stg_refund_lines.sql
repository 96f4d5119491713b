select
    refund_id,
    line,
    occurred_at as refunded_at,
    {{ utc_day('occurred_at') }} as refund_day,
    order_id,
    customer_id,
    region,
    currency,
    product_id,
    category,
    cast(quantity as bigint) as quantity,
    amount,
    reason
from {{ source('events', 'refund_lines') }}
