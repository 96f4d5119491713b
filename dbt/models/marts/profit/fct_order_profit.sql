{{ config(materialized='view') }}

with returned_goods as (
    select
        order_id,
        {{ total_money('unknown_cost_amount') }} as unknown_cost_amount,
        {{ total_money('cost_of_goods_amount') }} as cost_of_goods_amount
    from {{ ref('int_returned_costs') }}
    group by
        order_id
),

refunds as (
    select
        order_id,
        {{ total_money('returned_amount') }} as returned_amount,
        {{ total_money('shipping_amount') }} as shipping_amount
    from {{ ref('stg_refunds') }}
    group by
        order_id
),

fees as (
    select
        order_id,
        {{ total_money('amount') }} as payment_fee_amount
    from {{ ref('stg_payment_fees') }}
    group by
        order_id
),

charged as (
    select
        order_id,
        {{ total_money('shipping_amount') }} as shipping_amount
    from {{ ref('stg_orders') }}
    group by
        order_id
),

orders as (
    select
        orders.order_id,
        orders.ordered_at,
        orders.order_day,
        orders.customer_id,
        orders.region,
        orders.channel,
        orders.currency,
        orders.sales_amount,
        {{ money('coalesce(refunds.returned_amount, 0)') }} as returned_amount,
        {{ money('costs.unknown_cost_sales_amount - coalesce(returned_goods.unknown_cost_amount, 0)') }}
            as unknown_cost_sales_amount,
        {{ money('costs.cost_of_goods_amount - coalesce(returned_goods.cost_of_goods_amount, 0)') }}
            as cost_of_goods_amount,
        {{ money('coalesce(charged.shipping_amount, 0) - coalesce(refunds.shipping_amount, 0)') }} as shipping_amount,
        {{ money('coalesce(fees.payment_fee_amount, 0)') }} as payment_fee_amount
    from {{ ref('int_orders') }} as orders
    inner join {{ ref('int_order_costs') }} as costs on orders.order_id = costs.order_id
    left join refunds on orders.order_id = refunds.order_id
    left join returned_goods on orders.order_id = returned_goods.order_id
    left join fees on orders.order_id = fees.order_id
    left join charged on orders.order_id = charged.order_id
)

select
    order_id,
    ordered_at,
    order_day,
    customer_id,
    region,
    channel,
    currency,
    sales_amount,
    returned_amount,
    {{ money('sales_amount - returned_amount') }} as net_of_returns_amount,
    unknown_cost_sales_amount,
    cost_of_goods_amount,
    {{ money('sales_amount - returned_amount - unknown_cost_sales_amount - cost_of_goods_amount') }}
        as gross_margin_amount,
    shipping_amount,
    payment_fee_amount,
    {{ money(
        'sales_amount - returned_amount - unknown_cost_sales_amount - cost_of_goods_amount - payment_fee_amount'
    ) }} as contribution_amount
from orders
