select
    event_id,
    occurred_at,
    shop,
    product_id,
    sku,
    name,
    brand,
    {{ last_item('category_path') }} as category,
    {{ money('price') }} as price,
    {{ money('list_price') }} as list_price,
    {{ money('previous_price') }} as previous_price,
    currency,
    availability,
    stock_quantity,
    url,
    content_hash
from product_observed
