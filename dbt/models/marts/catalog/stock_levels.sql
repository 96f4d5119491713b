select
    day,
    product_id,
    warehouse,
    sold,
    restocked,
    adjusted,
    net_change,
    cast(
        sum(net_change) over (
            partition by product_id, warehouse
            order by day
            rows between unbounded preceding and current row
        ) as bigint
    ) as level
from {{ ref('int_stock_days') }}
