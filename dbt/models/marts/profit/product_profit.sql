with parts as (
    select
        day,
        product_id,
        units,
        sales_amount,
        0 as returned_units,
        {{ money('0') }} as returned_amount,
        unknown_cost_sales_amount,
        cost_of_goods_amount
    from {{ ref('int_product_costs') }}
    union all
    select
        refund_day as day,
        product_id,
        0 as units,
        {{ money('0') }} as sales_amount,
        quantity as returned_units,
        amount as returned_amount,
        -unknown_cost_amount as unknown_cost_sales_amount,
        -cost_of_goods_amount as cost_of_goods_amount
    from {{ ref('int_returned_costs') }}
)

select
    day,
    product_id,
    {{ total_count('units') }} as units,
    {{ total_count('returned_units') }} as returned_units,
    {{ total_money('sales_amount') }} as sales_amount,
    {{ total_money('returned_amount') }} as returned_amount,
    {{ total_money('sales_amount - returned_amount') }} as net_of_returns_amount,
    {{ total_money('unknown_cost_sales_amount') }} as unknown_cost_sales_amount,
    {{ total_money('cost_of_goods_amount') }} as cost_of_goods_amount,
    {{ total_money('sales_amount - returned_amount - unknown_cost_sales_amount - cost_of_goods_amount') }}
        as gross_margin_amount
from parts
group by
    day,
    product_id
