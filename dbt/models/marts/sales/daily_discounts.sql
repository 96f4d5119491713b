with used as (
    select
        order_id,
        order_day,
        coalesce(code, title, '') as name,
        code is not null as is_code,
        sum(amount) as discount_amount
    from {{ ref('stg_order_discounts') }}
    group by
        order_id,
        order_day,
        coalesce(code, title, ''),
        code is not null
)

select
    used.order_day as day,
    used.name,
    used.is_code,
    cast(count(*) as bigint) as orders,
    {{ total_money('used.discount_amount') }} as discount_amount,
    {{ total_money('orders.sales_amount') }} as sales_amount
from used
left join {{ ref('int_orders') }} as orders on used.order_id = orders.order_id
group by
    used.order_day,
    used.name,
    used.is_code
