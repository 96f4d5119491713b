select
    event_id,
    occurred_at,
    feed,
    vehicle_id,
    route_id,
    latitude,
    longitude
from vehicle_moved
