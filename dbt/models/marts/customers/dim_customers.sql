with refunds as (
    select
        order_id,
        {{ total_money('amount') }} as refund_amount
    from {{ ref('stg_refunds') }}
    group by
        order_id
),

orders as (
    select
        orders.customer_id,
        min(orders.ordered_at) as first_order_at,
        max(orders.ordered_at) as last_order_at,
        count(*) as orders,
        {{ total_count('orders.units') }} as units,
        {{ total_money('orders.net_amount') }} as net_amount,
        {{ total_money('refunds.refund_amount') }} as refund_amount
    from {{ ref('int_orders') }} as orders
    left join refunds on orders.order_id = refunds.order_id
    group by
        orders.customer_id
),

changes as (
    select
        customer_id,
        region,
        signup_date,
        age_band,
        row_number() over (
            partition by customer_id
            order by changed_at desc, {{ by_code_point('event_id') }} desc
        ) as nth_from_last
    from {{ ref('stg_customers') }}
),

known as (
    select
        customer_id,
        region,
        signup_date,
        age_band
    from changes
    where nth_from_last = 1
),

orders_of_unknown as (
    select
        orders.customer_id,
        orders.region,
        row_number() over (
            partition by orders.customer_id
            order by orders.ordered_at desc, {{ by_code_point('orders.order_id') }} desc
        ) as nth_from_last
    from {{ ref('int_orders') }} as orders
    left join known on orders.customer_id = known.customer_id
    where known.customer_id is null
),

unknown as (
    select
        customer_id,
        region
    from orders_of_unknown
    where nth_from_last = 1
)

select
    coalesce(known.customer_id, orders.customer_id) as customer_id,
    coalesce(known.region, unknown.region) as region,
    known.signup_date,
    known.age_band,
    orders.first_order_at,
    orders.last_order_at,
    coalesce(orders.orders, 0) as orders,
    coalesce(orders.units, 0) as units,
    {{ money('coalesce(orders.net_amount, 0)') }} as net_amount,
    {{ money('coalesce(orders.refund_amount, 0)') }} as refund_amount,
    {{ money('coalesce(orders.net_amount - orders.refund_amount, 0)') }} as lifetime_value,
    {{ ratio('orders.net_amount', 'orders.orders', 2) }} as average_order_amount
from known
full outer join orders on known.customer_id = orders.customer_id
left join unknown on orders.customer_id = unknown.customer_id
