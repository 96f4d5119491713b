with looks as (
    select
        shop,
        product_id,
        name,
        category,
        price,
        lag(price) over (partition by shop, product_id, currency order by seen_at) as previous_price,
        currency,
        seen_at
    from {{ ref('stg_product_looks') }}
),

prices as (
    select
        shop,
        product_id,
        name,
        category,
        price,
        previous_price,
        currency,
        seen_at as valid_from,
        lead(seen_at) over (partition by shop, product_id, currency order by seen_at) as valid_to
    from looks
    where
        previous_price is null
        or previous_price <> price
)

select
    shop,
    product_id,
    name,
    category,
    price,
    {{ money('previous_price') }} as previous_price,
    currency,
    valid_from,
    valid_to,
    {{ money('price - previous_price') }} as change_amount,
    {{ ratio('price - previous_price', 'previous_price') }} as change_share
from prices
