{{ config(materialized='view') }}

with refunds as (
    select
        order_id,
        {{ total_money('amount') }} as refund_amount
    from {{ ref('stg_refunds') }}
    group by
        order_id
),

numbered as (
    select
        *,
        row_number() over (
            partition by customer_id
            order by ordered_at, {{ by_code_point('order_id') }}
        ) as order_number
    from {{ ref('int_orders') }}
)

select
    numbered.order_id,
    numbered.ordered_at,
    numbered.order_day,
    numbered.customer_id,
    numbered.region,
    numbered.channel,
    numbered.currency,
    numbered.session_id,
    numbered.lines,
    numbered.units,
    numbered.gross_amount,
    numbered.discount_amount,
    numbered.sales_amount,
    coalesce(refunds.refund_amount, {{ money('0') }}) as refund_amount,
    {{ money('numbered.sales_amount - coalesce(refunds.refund_amount, 0)') }} as net_amount,
    numbered.order_number,
    numbered.order_number = 1 as is_first_order,
    coalesce(orders.placed_at, numbered.ordered_at) as placed_at,
    orders.charged_currency,
    orders.charged_total_amount,
    orders.charged_shipping_amount,
    orders.charged_tax_amount
from numbered
left join refunds on numbered.order_id = refunds.order_id
-- As of now, and so perhaps of another time than numbered: an order that was paid since has moved.
left join {{ ref('stg_orders') }} as orders
    on numbered.order_id = orders.order_id and numbered.ordered_at = orders.ordered_at
