with lines as (
    select
        event_id,
        {{ total_money('amount') }} as goods_amount
    from {{ source('events', 'refund_lines') }}
    group by
        event_id
)

select
    refunds.refund_id,
    refunds.occurred_at as refunded_at,
    {{ shop_day('refunds.occurred_at') }} as refund_day,
    coalesce(refunds.source, 'unknown') as source,
    refunds.order_id,
    refunds.customer_id,
    refunds.region,
    refunds.currency,
    {{ money('coalesce(lines.goods_amount, 0)') }} as goods_amount,
    {{ money('refunds.amount - coalesce(lines.goods_amount, 0)') }} as other_amount,
    {{ money('coalesce(refunds.shipping_amount, 0)') }} as shipping_amount,
    {{ money('coalesce(refunds.tax_amount, 0)') }} as tax_amount,
    {{ money('refunds.amount - coalesce(refunds.shipping_amount, 0) - coalesce(refunds.tax_amount, 0)') }} as returned_amount,
    refunds.amount,
    refunds.reason
from {{ source('events', 'refunds') }} as refunds
left join lines on refunds.event_id = lines.event_id
