with changes as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        product_id,
        occurred_at as changed_at,
        shop,
        name,
        previous_price,
        price,
        currency
    from product_observed
    where previous_price <> price
)

select
    window_start,
    product_id,
    changed_at,
    shop,
    min(name) as name,
    {{ money('min(previous_price)') }} as previous_price,
    {{ money('min(price)') }} as price,
    currency
from changes
group by
    window_start,
    product_id,
    changed_at,
    shop,
    currency
