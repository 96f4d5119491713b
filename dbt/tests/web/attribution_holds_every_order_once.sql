-- A day whose orders or sales in the first touches are not those of the orders themselves.
with touches as (
    select
        day,
        sum(orders) as orders,
        sum(sales_amount) as sales_amount
    from {{ ref('attribution') }}
    where
        touch = 'first'
        and {{ settled('day', 'int_touches') }}
        and {{ settled('day', 'int_orders') }}
    group by
        day
),

orders as (
    select
        order_day as day,
        count(*) as orders,
        sum(sales_amount) as sales_amount
    from {{ ref('int_orders') }}
    where
        {{ settled('order_day', 'int_touches') }}
        and {{ settled('order_day', 'int_orders') }}
    group by
        order_day
)

select
    touches.day as day_of_touches,
    orders.day as day_of_orders,
    touches.orders as orders_of_touches,
    orders.orders as orders_of_orders,
    touches.sales_amount as sales_of_touches,
    orders.sales_amount as sales_of_orders
from touches
full outer join orders
    on touches.day = orders.day
where
    touches.day is null
    or orders.day is null
    or touches.orders <> orders.orders
    or touches.sales_amount <> orders.sales_amount
