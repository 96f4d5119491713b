with segments as (
    select
        segment,
        count(*) as customers,
        sum(monetary) as lifetime_value,
        sum(recency_days) as recency_days,
        sum(frequency) as frequency
    from {{ ref('rfm') }}
    group by
        segment
),

everybody as (
    select sum(customers) as customers
    from segments
)

select
    segments.segment,
    segments.customers,
    {{ ratio('segments.customers', 'everybody.customers') }} as share_of_customers,
    {{ money('segments.lifetime_value') }} as lifetime_value,
    {{ ratio('segments.recency_days', 'segments.customers', 2) }} as average_recency_days,
    {{ ratio('segments.frequency', 'segments.customers', 2) }} as average_frequency,
    {{ ratio('segments.lifetime_value', 'segments.customers', 2) }} as average_monetary
from segments
cross join everybody
