with orders as (
    select
        order_day,
        count(*) as orders,
        sum(net_amount) as net_amount,
        count(distinct customer_id) filter (where is_first_order) as new_customers
    from {{ ref('fct_orders') }}
    where
        {{ settled('order_day', 'int_orders') }}
        and {{ settled('order_day', 'int_sales_by_day') }}
    group by
        order_day
)

select orders.order_day
from orders
left join {{ ref('daily_sales') }} as days
    on
        orders.order_day = days.day
        and days.level = 'all'
where
    days.day is null
    or orders.orders <> days.orders
    or orders.net_amount <> days.gross_amount - days.discount_amount
    or orders.new_customers <> days.new_customers
