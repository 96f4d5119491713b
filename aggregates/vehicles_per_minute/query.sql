with positions as (
    select
        {{ window_start('minute', 'occurred_at') }} as window_start,
        feed,
        route_id is not null as has_route,
        coalesce(route_id, '') as route_id,
        vehicle_id
    from vehicle_moved
)

select
    window_start,
    feed,
    has_route,
    route_id,
    count(*) as positions,
    count(distinct vehicle_id) as vehicles
from positions
group by
    window_start,
    feed,
    has_route,
    route_id
