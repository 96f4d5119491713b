-- A product whose units on hand are not the sum of its newest levels.
with levels as (
    select
        product_id,
        level,
        row_number() over (partition by product_id, warehouse order by day desc) as nth_from_last
    from {{ ref('stock_levels') }}
),

newest as (
    select
        product_id,
        sum(level) as on_hand
    from levels
    where nth_from_last = 1
    group by
        product_id
)

select
    newest.product_id,
    newest.on_hand,
    covers.on_hand as on_hand_there
from newest
full outer join {{ ref('days_of_cover') }} as covers
    on newest.product_id = covers.product_id
where
    newest.on_hand is null
    or covers.on_hand is null
    or newest.on_hand <> covers.on_hand
