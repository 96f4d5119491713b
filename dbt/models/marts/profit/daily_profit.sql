with parts as (
    select
        orders.order_day as day,
        1 as orders,
        orders.sales_amount as net_of_returns_amount,
        costs.unknown_cost_sales_amount,
        costs.cost_of_goods_amount,
        {{ money('0') }} as payment_fee_amount,
        {{ money('0') }} as ad_spend_amount
    from {{ ref('int_orders') }} as orders
    inner join {{ ref('int_order_costs') }} as costs on orders.order_id = costs.order_id
    union all
    select
        refund_day as day,
        0 as orders,
        -returned_amount as net_of_returns_amount,
        {{ money('0') }} as unknown_cost_sales_amount,
        {{ money('0') }} as cost_of_goods_amount,
        {{ money('0') }} as payment_fee_amount,
        {{ money('0') }} as ad_spend_amount
    from {{ ref('stg_refunds') }}
    union all
    select
        refund_day as day,
        0 as orders,
        {{ money('0') }} as net_of_returns_amount,
        -unknown_cost_amount as unknown_cost_sales_amount,
        -cost_of_goods_amount as cost_of_goods_amount,
        {{ money('0') }} as payment_fee_amount,
        {{ money('0') }} as ad_spend_amount
    from {{ ref('int_returned_costs') }}
    union all
    select
        fee_day as day,
        0 as orders,
        {{ money('0') }} as net_of_returns_amount,
        {{ money('0') }} as unknown_cost_sales_amount,
        {{ money('0') }} as cost_of_goods_amount,
        amount as payment_fee_amount,
        {{ money('0') }} as ad_spend_amount
    from {{ ref('stg_payment_fees') }}
    union all
    select
        day,
        0 as orders,
        {{ money('0') }} as net_of_returns_amount,
        {{ money('0') }} as unknown_cost_sales_amount,
        {{ money('0') }} as cost_of_goods_amount,
        {{ money('0') }} as payment_fee_amount,
        amount as ad_spend_amount
    from {{ ref('stg_ad_spend') }}
)

select
    day,
    {{ total_count('orders') }} as orders,
    {{ total_money('net_of_returns_amount') }} as net_of_returns_amount,
    {{ total_money('unknown_cost_sales_amount') }} as unknown_cost_sales_amount,
    {{ total_money('cost_of_goods_amount') }} as cost_of_goods_amount,
    {{ total_money('net_of_returns_amount - unknown_cost_sales_amount - cost_of_goods_amount') }}
        as gross_margin_amount,
    {{ total_money('payment_fee_amount') }} as payment_fee_amount,
    {{ total_money('ad_spend_amount') }} as ad_spend_amount,
    {{ total_money(
        'net_of_returns_amount - unknown_cost_sales_amount - cost_of_goods_amount - payment_fee_amount - ad_spend_amount'
    ) }} as contribution_amount
from parts
group by
    day
