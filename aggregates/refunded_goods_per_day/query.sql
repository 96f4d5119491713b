with lines as (
    select
        {{ window_start('day', 'occurred_at') }} as window_start,
        region,
        category,
        refund_id,
        quantity,
        amount
    from order_refunded_lines
)

select
    window_start,
    region,
    category,
    count(distinct refund_id) as refunds,
    {{ total('quantity') }} as units,
    {{ money('sum(amount)') }} as goods_amount
from lines
group by
    window_start,
    region,
    category
