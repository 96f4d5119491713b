with activity as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        product_id,
        case when interaction = 'product_view' then 1 else 0 end as `views`,
        case when interaction = 'add_to_cart' then 1 else 0 end as carts,
        0 as units,
        cast(0 as decimal(38, 2)) as sales_amount
    from interaction
    where
        product_id is not null
        and interaction in ('product_view', 'add_to_cart')

    union all

    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        product_id,
        0 as `views`,
        0 as carts,
        quantity as units,
        {{ money('quantity * unit_price - discount_amount') }} as sales_amount
    from order_placed_lines
)

select
    window_start,
    product_id,
    {{ total('`views`') }} as `views`,
    {{ total('carts') }} as carts,
    {{ total('units') }} as units,
    {{ money('sum(sales_amount)') }} as sales_amount
from activity
group by
    window_start,
    product_id
