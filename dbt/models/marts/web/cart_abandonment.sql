{{ config(materialized='by_day', day='day', indexes=[{'columns': ['day']}]) }}

with counts as (
    select
        session_day as day,
        region,
        count(*) filter (where carts > 0) as cart_sessions,
        count(*) filter (where carts > 0 and purchases = 0) as abandoned_carts,
        count(*) filter (where checkouts > 0) as checkout_sessions,
        count(*) filter (where checkouts > 0 and purchases = 0) as abandoned_checkouts
    from {{ ref('stg_sessions') }}
    where {{ touched('window_start') }}
    group by
        session_day,
        region
)

select
    day,
    region,
    cart_sessions,
    abandoned_carts,
    {{ ratio('abandoned_carts', 'cart_sessions') }} as cart_abandonment_rate,
    checkout_sessions,
    abandoned_checkouts,
    {{ ratio('abandoned_checkouts', 'checkout_sessions') }} as checkout_abandonment_rate
from counts
