{#- Refunds and their lines are written apart, an instant after each other: a line counts when its refund is there. -#}
select
    refund_id,
    line,
    occurred_at as refunded_at,
    {{ shop_day('occurred_at') }} as refund_day,
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
where event_id in (select refunds.event_id from {{ source('events', 'refunds') }} as refunds)
