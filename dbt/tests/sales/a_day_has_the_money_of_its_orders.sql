with orders as (
    select
        order_day,
        count(*) as orders,
        sum(sales_amount) as sales_amount,
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
    or orders.sales_amount <> days.sales_amount
    or orders.new_customers <> days.new_customers
