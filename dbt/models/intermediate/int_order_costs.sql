{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='order_day',
    key_type='date',
    watches={'stg_product_costs': ['product_id', 'valid_from', 'unit_cost']},
    indexes=[{'columns': ['order_day']}]
) }}

-- depends_on: {{ ref('int_orders') }}

with lines as (
    select
        lines.order_day,
        lines.order_id,
        lines.quantity,
        lines.sales_amount,
        costs.unit_cost
    from {{ ref('stg_order_lines') }} as lines
    left join {{ ref('stg_product_costs') }} as costs
        on
            lines.product_id = costs.product_id
            and {{ holds_at('costs', 'lines.ordered_at') }}
    where {{ changed('lines.order_day') }}
)

select
    order_day,
    order_id,
    {{ total_money('case when unit_cost is null then sales_amount else 0 end') }} as unknown_cost_sales_amount,
    {{ total_money('quantity * unit_cost') }} as cost_of_goods_amount
from lines
group by
    order_day,
    order_id
