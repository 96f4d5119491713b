{{ config(materialized='by_day', day='day', indexes=[{'columns': ['day']}], feeds={'stock_levels': 'day'}) }}

select
    day,
    product_id,
    warehouse,
    {{ total_count('sold') }} as sold,
    {{ total_count('restocked') }} as restocked,
    {{ total_count('adjusted') }} as adjusted,
    {{ total_count('net_change') }} as net_change
from {{ ref('stg_stock_moves') }}
where {{ touched('window_start') }}
group by
    day,
    product_id,
    warehouse
