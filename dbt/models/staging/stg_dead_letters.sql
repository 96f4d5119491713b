select
    topic,
    {{ utc_day('dead_at') }} as day,
    dead_at,
    error,
    reason
from {{ source('ops', 'dead_letters') }}
