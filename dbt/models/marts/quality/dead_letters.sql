{{ config(materialized='view') }}

select
    topic,
    day,
    reason,
    count(*) as dead_letters,
    max(dead_at) as last_at
from {{ ref('stg_dead_letters') }}
group by
    topic,
    day,
    reason
