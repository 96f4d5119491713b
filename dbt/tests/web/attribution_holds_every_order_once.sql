-- A day whose orders or revenue in the first touches are not those of the orders themselves.
with touches as (
    select
        day,
        sum(orders) as orders,
        sum(revenue) as revenue
    from {{ ref('attribution') }}
    where
        touch = 'first'
        and {{ settled('day', 'attribution') }}
        and {{ settled('day', 'int_orders') }}
    group by
        day
),

orders as (
    select
        order_day as day,
        count(*) as orders,
        sum(net_amount) as revenue
    from {{ ref('int_orders') }}
    where
        {{ settled('order_day', 'attribution') }}
        and {{ settled('order_day', 'int_orders') }}
    group by
        order_day
)

select
    touches.day as day_of_touches,
    orders.day as day_of_orders,
    touches.orders as orders_of_touches,
    orders.orders as orders_of_orders,
    touches.revenue as revenue_of_touches,
    orders.revenue as revenue_of_orders
from touches
full outer join orders
    on touches.day = orders.day
where
    touches.day is null
    or orders.day is null
    or touches.orders <> orders.orders
    or touches.revenue <> orders.revenue
