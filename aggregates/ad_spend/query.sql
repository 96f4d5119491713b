select
    event_id,
    occurred_at,
    source,
    channel,
    campaign,
    `day`,
    {{ money('amount') }} as amount,
    currency,
    impressions,
    clicks
from spend_stated
