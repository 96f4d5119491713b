with looks as (
    select
        product_id,
        shop,
        sku,
        name,
        brand,
        category,
        price,
        list_price,
        currency,
        availability,
        stock_quantity,
        url,
        min(seen_at) over (partition by product_id, shop) as first_seen_at,
        seen_at as last_seen_at,
        row_number() over (
            partition by product_id
            order by seen_at desc, {{ by_code_point('event_id') }} desc
        ) as nth_from_last
    from {{ ref('stg_product_looks') }}
),

seen as (
    select
        product_id,
        shop,
        sku,
        name,
        brand,
        category,
        price,
        list_price,
        currency,
        availability,
        stock_quantity,
        url,
        first_seen_at,
        last_seen_at
    from looks
    where nth_from_last = 1
),

last_sold as (
    select
        product_id,
        max(day) as day
    from {{ ref('int_product_sales') }}
    group by
        product_id
),

sold as (
    select
        sales.product_id,
        sales.last_category,
        sales.last_brand,
        sales.last_currency,
        sales.last_unit_price
    from {{ ref('int_product_sales') }} as sales
    inner join last_sold
        on
            sales.product_id = last_sold.product_id
            and sales.day = last_sold.day
)

select
    coalesce(seen.product_id, sold.product_id) as product_id,
    seen.shop,
    seen.sku,
    seen.name,
    case when seen.product_id is null then sold.last_brand else seen.brand end as brand,
    case when seen.product_id is null then sold.last_category else seen.category end as category,
    {{ money('coalesce(seen.price, sold.last_unit_price)') }} as price,
    seen.list_price,
    coalesce(seen.currency, sold.last_currency) as currency,
    coalesce(sold.last_currency, seen.currency) as price_currency,
    seen.availability,
    seen.stock_quantity,
    seen.url,
    seen.first_seen_at,
    seen.last_seen_at,
    seen.product_id is not null as has_history
from seen
full outer join sold
    on seen.product_id = sold.product_id
