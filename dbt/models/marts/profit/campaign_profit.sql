with parts as (
    select
        profit.order_day as day,
        touches.last_campaign as campaign,
        1 as orders,
        profit.sales_amount,
        profit.net_of_returns_amount,
        profit.unknown_cost_sales_amount,
        profit.gross_margin_amount,
        profit.payment_fee_amount,
        {{ money('0') }} as ad_spend_amount,
        0 as clicks
    from {{ ref('fct_order_profit') }} as profit
    inner join {{ ref('int_touches') }} as touches on profit.order_id = touches.order_id
    union all
    select
        day,
        campaign,
        0 as orders,
        {{ money('0') }} as sales_amount,
        {{ money('0') }} as net_of_returns_amount,
        {{ money('0') }} as unknown_cost_sales_amount,
        {{ money('0') }} as gross_margin_amount,
        {{ money('0') }} as payment_fee_amount,
        amount as ad_spend_amount,
        clicks
    from {{ ref('stg_ad_spend') }}
)

select
    day,
    campaign,
    {{ total_count('orders') }} as orders,
    {{ total_money('sales_amount') }} as sales_amount,
    {{ total_money('net_of_returns_amount') }} as net_of_returns_amount,
    {{ total_money('unknown_cost_sales_amount') }} as unknown_cost_sales_amount,
    {{ total_money('gross_margin_amount') }} as gross_margin_amount,
    {{ total_money('payment_fee_amount') }} as payment_fee_amount,
    {{ total_money('ad_spend_amount') }} as ad_spend_amount,
    {{ total_count('clicks') }} as clicks,
    {{ total_money('gross_margin_amount - payment_fee_amount - ad_spend_amount') }} as contribution_amount,
    {{ ratio('sum(sales_amount)', 'sum(ad_spend_amount)', 2) }} as return_on_ad_spend
from parts
group by
    day,
    campaign
