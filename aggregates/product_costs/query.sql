select
    event_id,
    occurred_at,
    source,
    product_id,
    valid_from,
    {{ money('unit_cost') }} as unit_cost,
    currency,
    is_withdrawn
from cost_stated
