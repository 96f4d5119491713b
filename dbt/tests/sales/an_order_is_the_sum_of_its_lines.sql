with lines as (
    select
        order_id,
        count(*) as lines,
        sum(quantity) as units,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(sales_amount) as sales_amount
    from {{ ref('fct_order_lines') }}
    where {{ settled('order_day', 'int_orders') }}
    group by
        order_id
),

orders as (
    select *
    from {{ ref('fct_orders') }}
    where {{ settled('order_day', 'int_orders') }}
)

select
    orders.order_id as order_of_orders,
    lines.order_id as order_of_lines
from orders
full outer join lines on orders.order_id = lines.order_id
where
    orders.order_id is null
    or lines.order_id is null
    or orders.lines <> lines.lines
    or orders.units <> lines.units
    or orders.gross_amount <> lines.gross_amount
    or orders.discount_amount <> lines.discount_amount
    or orders.sales_amount <> lines.sales_amount
