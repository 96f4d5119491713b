{{ config(materialized='by_day', day='day', indexes=[{'columns': ['day']}], feeds={'product_conversions': 'day'}) }}

select
    day,
    product_id,
    {{ total_count('views') }} as views,
    {{ total_count('carts') }} as carts,
    {{ total_count('units') }} as units,
    {{ total_money('sales_amount') }} as sales_amount
from {{ ref('stg_product_activity') }}
where {{ touched('window_start') }}
group by
    day,
    product_id
