with days as (
    select
        customer_id,
        order_day,
        sum(net_amount) as net_amount
    from {{ ref('int_orders') }}
    group by
        customer_id,
        order_day
),

newest as (
    select max(order_day) as as_of_day
    from days
),

numbered as (
    select
        customer_id,
        order_day,
        net_amount,
        row_number() over (partition by customer_id order by order_day) as nth
    from days
),

customers as (
    select
        customer_id,
        count(*) - 1 as frequency,
        min(order_day) as first_day,
        max(order_day) as last_day,
        sum(net_amount) filter (where nth > 1) as repeat_amount
    from numbered
    group by
        customer_id
)

select
    customers.customer_id,
    customers.frequency,
    {{ days_between('customers.first_day', 'customers.last_day') }} as recency_days,
    {{ days_between('customers.first_day', 'newest.as_of_day') }} as t_days,
    {{ ratio('customers.repeat_amount', 'customers.frequency', 2) }} as monetary_value
from customers
cross join newest
