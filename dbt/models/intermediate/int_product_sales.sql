{{ config(
    materialized='by_day',
    day='day',
    indexes=[{'columns': ['day']}],
    feeds={'price_vs_sales': 'day', 'int_product_costs': 'day'}
) }}

with lines as (
    select
        order_day as day,
        product_id,
        category,
        brand,
        currency,
        unit_price,
        ordered_at,
        quantity,
        gross_amount,
        sales_amount,
        row_number() over (
            partition by order_day, product_id
            order by ordered_at desc, {{ by_code_point('order_id') }} desc, line desc
        ) as nth_from_last
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at') }}
)

select
    day,
    product_id,
    {{ total_count('quantity') }} as units,
    {{ total_money('gross_amount') }} as gross_amount,
    {{ total_money('sales_amount') }} as sales_amount,
    max(ordered_at) as last_sold_at,
    max(case when nth_from_last = 1 then category end) as last_category,
    max(case when nth_from_last = 1 then brand end) as last_brand,
    max(case when nth_from_last = 1 then currency end) as last_currency,
    {{ money('max(case when nth_from_last = 1 then unit_price end)') }} as last_unit_price
from lines
group by
    day,
    product_id
