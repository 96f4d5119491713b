select
    {{ utc_day('window_start') }} as day,
    window_start,
    product_id,
    views,
    carts,
    units,
    revenue
from {{ source('live', 'product_activity_per_hour') }}
