-- A move that isn't what entered less what left, or a level that isn't the one before and what moved.
with levels as (
    select
        day,
        product_id,
        warehouse,
        sold,
        restocked,
        adjusted,
        net_change,
        level,
        lag(level) over (partition by product_id, warehouse order by day) as level_before
    from {{ ref('stock_levels') }}
)

select
    day,
    product_id,
    warehouse,
    net_change,
    level,
    level_before
from levels
where
    net_change <> restocked + adjusted - sold
    or level <> coalesce(level_before, 0) + net_change
