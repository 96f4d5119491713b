select
    order_id,
    line,
    occurred_at as ordered_at,
    {{ shop_day('occurred_at') }} as order_day,
    customer_id,
    region,
    channel,
    currency,
    session_id,
    product_id,
    category,
    brand,
    cast(quantity as bigint) as quantity,
    unit_price,
    {{ money('quantity * unit_price') }} as gross_amount,
    discount_amount,
    sales_amount
from {{ source('events', 'order_lines') }}
