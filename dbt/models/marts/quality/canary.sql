{{ config(materialized='by_day', day='day', indexes=[{'columns': ['canary_at']}]) }}

select
    {{ shop_day('window_start') }} as day,
    window_start as canary_at,
    canaries,
    amount
from {{ source('live', 'canary_per_minute') }}
where {{ touched('window_start') }}
