{{ config(materialized='view') }}

{#- Goods that are paid back give their cost back: what they cost when they were ordered. -#}
select
    lines.refund_id,
    lines.line,
    lines.refund_day,
    lines.order_id,
    lines.product_id,
    lines.quantity,
    lines.amount,
    {{ money('case when costs.unit_cost is null then lines.amount else 0 end') }} as unknown_cost_amount,
    {{ money('coalesce(lines.quantity * costs.unit_cost, 0)') }} as cost_of_goods_amount
from {{ ref('stg_refund_lines') }} as lines
left join {{ ref('int_orders') }} as orders on lines.order_id = orders.order_id
left join {{ ref('stg_product_costs') }} as costs
    on
        lines.product_id = costs.product_id
        and {{ holds_at('costs', 'orders.ordered_at') }}
