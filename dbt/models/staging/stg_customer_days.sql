select
    customer_id,
    {{ shop_day('window_start') }} as order_day,
    orders,
    units,
    sales_amount,
    first_order_at,
    last_order_at
from {{ source('live', 'customer_orders_per_day') }}
