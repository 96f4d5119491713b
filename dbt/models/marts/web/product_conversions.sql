select
    activity.day,
    activity.product_id,
    products.category,
    products.name,
    activity.views,
    activity.carts,
    activity.units,
    activity.revenue,
    {{ ratio('activity.units', 'activity.views') }} as units_per_view
from {{ ref('int_product_days') }} as activity
left join {{ ref('dim_products') }} as products
    on activity.product_id = products.product_id
