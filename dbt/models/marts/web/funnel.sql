{{ config(materialized='by_day', day='day', indexes=[{'columns': ['day']}]) }}

with furthest as (
    select
        session_day as day,
        region,
        campaign,
        case
            when purchases > 0 then 4
            when checkouts > 0 then 3
            when carts > 0 then 2
            when product_views > 0 then 1
            else 0
        end as step
    from {{ ref('stg_sessions') }}
    where {{ touched('window_start') }}
)

select
    day,
    region,
    campaign,
    count(*) as sessions,
    count(*) filter (where step >= 1) as product_view_sessions,
    count(*) filter (where step >= 2) as cart_sessions,
    count(*) filter (where step >= 3) as checkout_sessions,
    count(*) filter (where step >= 4) as purchase_sessions
from furthest
group by
    day,
    region,
    campaign
