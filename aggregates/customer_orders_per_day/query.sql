with lines as (
    select
        {{ window_start('day', 'occurred_at') }} as window_start,
        customer_id,
        order_id,
        occurred_at,
        quantity,
        quantity * unit_price - discount_amount as sales_amount
    from order_placed_lines
)

select
    window_start,
    customer_id,
    count(distinct order_id) as orders,
    {{ total('quantity') }} as units,
    {{ money('sum(sales_amount)') }} as sales_amount,
    min(occurred_at) as first_order_at,
    max(occurred_at) as last_order_at
from lines
group by
    window_start,
    customer_id
