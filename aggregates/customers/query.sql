select
    event_id,
    occurred_at,
    customer_id,
    region,
    signup_date,
    age_band,
    name_encrypted,
    email_encrypted
from customer_changed
