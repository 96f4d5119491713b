with refunds as (
    select
        orders.customer_id,
        {{ total_money('refunds.amount') }} as refund_amount
    from {{ ref('stg_refunds') }} as refunds
    inner join {{ ref('int_orders') }} as orders on refunds.order_id = orders.order_id
    group by
        orders.customer_id
),

orders as (
    select
        customers.customer_id,
        customers.last_region,
        customers.first_order_at,
        customers.last_order_at,
        customers.orders,
        customers.units,
        customers.sales_amount,
        coalesce(refunds.refund_amount, 0) as refund_amount
    from {{ ref('int_customers') }} as customers
    left join refunds on customers.customer_id = refunds.customer_id
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
)

select
    coalesce(known.customer_id, orders.customer_id) as customer_id,
    case when known.customer_id is null then orders.last_region else known.region end as region,
    known.signup_date,
    known.age_band,
    orders.first_order_at,
    orders.last_order_at,
    coalesce(orders.orders, 0) as orders,
    coalesce(orders.units, 0) as units,
    {{ money('coalesce(orders.sales_amount, 0)') }} as sales_amount,
    {{ money('coalesce(orders.refund_amount, 0)') }} as refund_amount,
    {{ money('coalesce(orders.sales_amount - orders.refund_amount, 0)') }} as lifetime_value,
    {{ ratio('orders.sales_amount', 'orders.orders', 2) }} as average_order_amount
from known
full outer join orders on known.customer_id = orders.customer_id
