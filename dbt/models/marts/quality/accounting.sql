{{ config(materialized='view') }}

select
    topic,
    published,
    counted,
    duplicate,
    late,
    dead,
    published - counted - duplicate - late - dead as unaccounted,
    recorded_at
from {{ source('ops', 'log_counts') }}
