{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='day',
    key_type='date',
    watches={'dim_products': ['product_id', 'category', 'name']},
    indexes=[{'columns': ['day']}]
) }}

select
    activity.day,
    activity.product_id,
    products.category,
    products.name,
    activity.views,
    activity.carts,
    activity.units,
    activity.sales_amount,
    {{ ratio('activity.units', 'activity.views') }} as units_per_view
from {{ ref('int_product_days') }} as activity
left join {{ ref('dim_products') }} as products
    on activity.product_id = products.product_id
where {{ changed('activity.day') }}
