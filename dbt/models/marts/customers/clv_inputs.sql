with newest as (
    select max(last_day) as as_of_day
    from {{ ref('int_customers') }}
),

customers as (
    select
        customer_id,
        order_days - 1 as frequency,
        first_day,
        last_day,
        repeat_amount
    from {{ ref('int_customers') }}
)

select
    customers.customer_id,
    customers.frequency,
    {{ days_between('customers.first_day', 'customers.last_day') }} as recency_days,
    {{ days_between('customers.first_day', 'newest.as_of_day') }} as t_days,
    {{ ratio('customers.repeat_amount', 'customers.frequency', 2) }} as monetary_value
from customers
cross join newest
