with moves as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        product_id,
        warehouse,
        case when reason = 'sale' then -cast(delta as bigint) else 0 end as sold,
        case when reason = 'restock' then delta else 0 end as restocked,
        case when reason = 'adjustment' then delta else 0 end as adjusted,
        delta
    from stock_moved
)

select
    window_start,
    product_id,
    warehouse,
    {{ total('sold') }} as sold,
    {{ total('restocked') }} as restocked,
    {{ total('adjusted') }} as adjusted,
    {{ total('delta') }} as net_change
from moves
group by
    window_start,
    product_id,
    warehouse
