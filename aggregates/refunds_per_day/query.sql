with parts as (
    select
        {{ window_start('day', 'occurred_at') }} as window_start,
        region,
        refund_id,
        amount as refund_amount,
        cast(0 as decimal(12, 2)) as goods_amount
    from order_refunded
    union all
    select
        {{ window_start('day', 'occurred_at') }} as window_start,
        region,
        refund_id,
        cast(0 as decimal(12, 2)) as refund_amount,
        amount as goods_amount
    from order_refunded_lines
)

select
    window_start,
    region,
    count(distinct refund_id) as refunds,
    {{ money('sum(goods_amount)') }} as goods_amount,
    {{ money('sum(refund_amount - goods_amount)') }} as other_amount,
    {{ money('sum(refund_amount)') }} as refund_amount
from parts
group by
    window_start,
    region
