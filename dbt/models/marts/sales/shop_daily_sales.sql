{{ config(materialized='by_day', day='day', shops=true, indexes=[{'columns': ['day']}]) }}

with orders as (
    select
        source as shop,
        {{ shop_day('ordered_at', 'source') }} as day,
        order_id,
        ordered_at,
        shipping_amount,
        tax_amount,
        duties_amount,
        tip_amount
    from {{ ref('stg_orders') }}
    where {{ touched('ordered_at', shop='source') }}
),

{#- A line has no shop of its own, but its order's: no day of a shop is more than two away from one of all shops. -#}
lines as (
    select
        order_id,
        ordered_at,
        gross_amount,
        discount_amount
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at', before=2, after=2) }}
),

parts as (
    select
        shop,
        day,
        1 as orders,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        {{ money('0') }} as returned_amount,
        shipping_amount,
        tax_amount,
        duties_amount,
        tip_amount
    from orders
    union all
    select
        orders.shop,
        orders.day,
        0 as orders,
        lines.gross_amount,
        lines.discount_amount,
        {{ money('0') }} as returned_amount,
        {{ money('0') }} as shipping_amount,
        {{ money('0') }} as tax_amount,
        {{ money('0') }} as duties_amount,
        {{ money('0') }} as tip_amount
    from lines
    inner join orders on lines.order_id = orders.order_id and lines.ordered_at = orders.ordered_at
    union all
    select
        source as shop,
        {{ shop_day('refunded_at', 'source') }} as day,
        0 as orders,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        returned_amount,
        -shipping_amount as shipping_amount,
        -tax_amount as tax_amount,
        {{ money('0') }} as duties_amount,
        {{ money('0') }} as tip_amount
    from {{ ref('stg_refunds') }}
    where {{ touched('refunded_at', shop='source') }}
)

select
    shop,
    day,
    {{ from_gross_to_total() }}
from parts
group by
    shop,
    day
