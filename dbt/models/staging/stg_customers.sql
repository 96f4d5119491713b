select
    event_id,
    occurred_at as changed_at,
    customer_id,
    region,
    signup_date,
    age_band
from {{ source('events', 'customers') }}
