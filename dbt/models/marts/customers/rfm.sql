with newest as (
    select max(last_day) as as_of_day
    from {{ ref('int_customers') }}
),

customers as (
    select
        customers.customer_id,
        newest.as_of_day,
        {{ shop_day('customers.last_order_at') }} as last_day,
        customers.orders as frequency,
        customers.lifetime_value as monetary
    from {{ ref('dim_customers') }} as customers
    cross join newest
    where customers.orders > 0
),

ranked as (
    select
        customer_id,
        as_of_day,
        {{ days_between('last_day', 'as_of_day') }} as recency_days,
        frequency,
        monetary,
        rank() over (order by last_day) as recency_rank,
        rank() over (order by frequency) as frequency_rank,
        rank() over (order by monetary) as monetary_rank,
        count(*) over () as customers
    from customers
),

{#- A rank of 1 is the worst; equal values have equal ranks, and so equal scores. -#}
scored as (
    select
        customer_id,
        as_of_day,
        recency_days,
        frequency,
        monetary,
        1 + 5 * (recency_rank - 1) / customers as recency_score,
        1 + 5 * (frequency_rank - 1) / customers as frequency_score,
        1 + 5 * (monetary_rank - 1) / customers as monetary_score
    from ranked
)

select
    customer_id,
    as_of_day,
    recency_days,
    frequency,
    monetary,
    recency_score,
    frequency_score,
    monetary_score,
    {{ as_text('recency_score') }} || {{ as_text('frequency_score') }} || {{ as_text('monetary_score') }} as rfm_score,
    {{ rfm_segment('recency_score', '(frequency_score + monetary_score + 1) / 2') }} as segment
from scored
