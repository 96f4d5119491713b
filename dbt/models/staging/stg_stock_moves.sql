select
    {{ shop_day('window_start') }} as day,
    window_start,
    product_id,
    warehouse,
    sold,
    restocked,
    adjusted,
    net_change
from {{ source('live', 'stock_moves_per_hour') }}
