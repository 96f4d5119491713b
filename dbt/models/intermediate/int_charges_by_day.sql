{{ config(materialized='by_day', day='order_day', indexes=[{'columns': ['order_day']}]) }}

select
    order_day,
    region,
    cast(count(*) as bigint) as orders,
    {{ total_money('shipping_amount') }} as shipping_amount,
    {{ total_money('tax_amount') }} as tax_amount,
    {{ total_money('duties_amount') }} as duties_amount,
    {{ total_money('tip_amount') }} as tip_amount
from {{ ref('stg_orders') }}
where {{ touched('ordered_at') }}
group by
    order_day,
    region
