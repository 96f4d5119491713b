-- A price that does not end where the next begins, one that goes on from another, or more or fewer than one that holds.
with prices as (
    select
        shop,
        product_id,
        currency,
        price,
        previous_price,
        valid_from,
        valid_to,
        lead(valid_from) over (partition by shop, product_id, currency order by valid_from) as next_from,
        lag(price) over (partition by shop, product_id, currency order by valid_from) as price_before
    from {{ ref('price_history') }}
)

select
    shop,
    product_id,
    currency,
    valid_from,
    valid_to,
    next_from
from prices
where
    valid_to <= valid_from
    or (valid_to is null) <> (next_from is null)
    or valid_to <> next_from
    or (previous_price is null) <> (price_before is null)
    or previous_price <> price_before
    or price = previous_price
