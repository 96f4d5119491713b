with lines as (
    select
        {{ window_start('minute', 'occurred_at') }} as window_start,
        region,
        category,
        order_id,
        quantity,
        quantity * unit_price as gross_amount,
        discount_amount
    from order_placed_lines
)

select
    window_start,
    region,
    category,
    count(distinct order_id) as orders,
    {{ total('quantity') }} as units,
    {{ money('sum(gross_amount)') }} as gross_amount,
    {{ money('sum(discount_amount)') }} as discount_amount,
    {{ money('sum(gross_amount - discount_amount)') }} as sales_amount
from lines
group by
    window_start,
    region,
    category
