with sales as (
    select
        order_day as day,
        level,
        region,
        category,
        orders,
        units,
        gross_amount,
        discount_amount,
        {{ money('0') }} as refund_amount,
        {{ money('0') }} as other_refund_amount,
        customers,
        new_customers,
        0 as checkouts,
        0 as abandoned_checkouts
    from {{ ref('int_sales_by_day') }}
),

{#- A category has the goods of its own; what was not for goods is in all of them together alone. -#}
refunds_by_day as (
    select
        refund_day as day,
        {{ level_of('region') }} as level,
        region,
        category,
        {{ total_money('amount') }} as refund_amount,
        {{ money('0') }} as other_refund_amount
    from {{ ref('stg_refund_lines') }}
    group by
        grouping sets (
            (refund_day, region, category),
            (refund_day, category)
        )
    union all
    select
        refund_day as day,
        case grouping(region) when 0 then 'region' else 'all' end as level,
        region,
        {{ as_text('null') }} as category,
        {{ total_money('amount') }} as refund_amount,
        {{ total_money('other_amount') }} as other_refund_amount
    from {{ ref('stg_refunds') }}
    group by
        grouping sets ((refund_day, region), (refund_day))
),

refunds as (
    select
        day,
        level,
        region,
        category,
        0 as orders,
        0 as units,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        refund_amount,
        other_refund_amount,
        0 as customers,
        0 as new_customers,
        0 as checkouts,
        0 as abandoned_checkouts
    from refunds_by_day
),

checkouts_of_regions as (
    select
        day,
        case grouping(region) when 0 then 'region' else 'all' end as level,
        region,
        {{ as_text('null') }} as category,
        sum(checkout_sessions) as checkouts,
        sum(abandoned_checkouts) as abandoned_checkouts
    from {{ ref('cart_abandonment') }}
    where checkout_sessions > 0
    group by
        grouping sets ((day, region), (day))
),

checkouts as (
    select * from checkouts_of_regions
    union all
    select
        session_day as day,
        level,
        region,
        category,
        checkouts,
        abandoned_checkouts
    from {{ ref('int_category_checkouts') }}
),

cells as (
    select * from sales
    union all
    select * from refunds
    union all
    select
        day,
        level,
        region,
        category,
        0 as orders,
        0 as units,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        {{ money('0') }} as refund_amount,
        {{ money('0') }} as other_refund_amount,
        0 as customers,
        0 as new_customers,
        checkouts,
        abandoned_checkouts
    from checkouts
),

totals as (
    select
        day,
        level,
        region,
        category,
        {{ total_count('orders') }} as orders,
        {{ total_count('units') }} as units,
        {{ total_money('gross_amount') }} as gross_amount,
        {{ total_money('discount_amount') }} as discount_amount,
        {{ total_money('refund_amount') }} as refund_amount,
        {{ total_money('other_refund_amount') }} as other_refund_amount,
        {{ total_count('customers') }} as customers,
        {{ total_count('new_customers') }} as new_customers,
        {{ total_count('checkouts') }} as checkouts,
        {{ total_count('abandoned_checkouts') }} as abandoned_checkouts
    from cells
    group by
        day,
        level,
        region,
        category
)

select
    day,
    level,
    region,
    category,
    orders,
    units,
    gross_amount,
    discount_amount,
    {{ money('gross_amount - discount_amount') }} as sales_amount,
    refund_amount,
    other_refund_amount,
    {{ money('gross_amount - discount_amount - refund_amount') }} as net_amount,
    {{ ratio('(gross_amount - discount_amount)', 'orders', 2) }} as average_order_amount,
    customers,
    new_customers,
    customers - new_customers as returning_customers,
    checkouts,
    abandoned_checkouts
from totals
