with looks as (
    select
        event_id,
        occurred_at,
        shop,
        product_id,
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
        row_number() over (
            partition by shop, product_id, currency, occurred_at
            order by {{ by_code_point('event_id') }} desc
        ) as nth_of_moment
    from {{ source('events', 'product_observations') }}
)

select
    event_id,
    occurred_at as seen_at,
    shop,
    product_id,
    sku,
    name,
    brand,
    category,
    price,
    list_price,
    currency,
    availability,
    stock_quantity,
    url
from looks
where nth_of_moment = 1
