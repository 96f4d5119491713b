select
    event_id,
    occurred_at,
    `day`,
    base_currency,
    currency,
    {{ rate('rate') }} as rate
from rate_published
