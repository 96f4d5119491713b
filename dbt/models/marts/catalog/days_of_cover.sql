with shop as (
    select
        min(day) as first_day,
        max(day) as as_of_day
    from {{ ref('int_product_sales') }}
),

stock as (
    select
        product_id,
        {{ total_count('net_change') }} as on_hand
    from {{ ref('int_stock_days') }}
    group by
        product_id
),

sales as (
    select
        sales.product_id,
        {{ total_count('sales.units') }} as units_28d
    from {{ ref('int_product_sales') }} as sales
    cross join shop
    where sales.day > {{ days_after('shop.as_of_day', -28) }}
    group by
        sales.product_id
),

rates as (
    select
        stock.product_id,
        stock.on_hand,
        shop.as_of_day,
        coalesce(sales.units_28d, 0) as units_28d,
        coalesce(least(28, {{ days_between('shop.first_day', 'shop.as_of_day') }} + 1), 28) as days
    from stock
    cross join shop
    left join sales
        on stock.product_id = sales.product_id
),

covers as (
    select
        product_id,
        on_hand,
        as_of_day,
        units_28d,
        {{ ratio('units_28d', 'days', 4) }} as units_per_day,
        {{ ratio('on_hand * days', 'units_28d', 1) }} as days_of_cover
    from rates
)

select
    covers.product_id,
    products.name,
    products.category,
    covers.on_hand,
    covers.as_of_day,
    covers.units_28d,
    covers.units_per_day,
    covers.days_of_cover,
    case
        when covers.on_hand <= 0 then 'out'
        when covers.units_28d = 0 then 'no sales'
        when covers.days_of_cover < 7 then 'low'
        when covers.days_of_cover > 90 then 'excess'
        else 'ok'
    end as status
from covers
left join {{ ref('dim_products') }} as products
    on covers.product_id = products.product_id
