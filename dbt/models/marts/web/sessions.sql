{{ config(materialized='view') }}

with orders as (
    select
        session_id,
        count(*) as orders,
        {{ total_money('sales_amount') }} as sales_amount
    from {{ ref('int_orders') }}
    where session_id is not null
    group by
        session_id
)

select
    sessions.session_id,
    sessions.session_day,
    sessions.started_at,
    sessions.ended_at,
    {{ seconds_between('sessions.started_at', 'sessions.ended_at') }} as duration_seconds,
    sessions.region,
    sessions.campaign,
    sessions.customer_id,
    sessions.page_views,
    sessions.product_views,
    sessions.carts,
    sessions.checkouts,
    sessions.purchases,
    sessions.page_views + sessions.product_views + sessions.carts + sessions.checkouts + sessions.purchases
    = 1 as is_bounce,
    sessions.carts > 0 and sessions.purchases = 0 as abandoned_cart,
    sessions.checkouts > 0 and sessions.purchases = 0 as abandoned_checkout,
    coalesce(orders.orders, 0) as orders,
    {{ money('coalesce(orders.sales_amount, 0)') }} as sales_amount
from {{ ref('stg_sessions') }} as sessions
left join orders
    on sessions.session_id = orders.session_id
