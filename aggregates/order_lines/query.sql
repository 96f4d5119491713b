select
    event_id,
    line,
    occurred_at,
    order_id,
    customer_id,
    region,
    currency,
    channel,
    session_id,
    product_id,
    category,
    brand,
    quantity,
    {{ money('unit_price') }} as unit_price,
    {{ money('discount_amount') }} as discount_amount,
    {{ money('quantity * unit_price - discount_amount') }} as sales_amount
from order_placed_lines
