select
    {{ shop_day('window_start') }} as day,
    window_start,
    product_id,
    views,
    carts,
    units,
    sales_amount
from {{ source('live', 'product_activity_per_hour') }}
