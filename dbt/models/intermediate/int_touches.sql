{{ config(
    materialized='by_day',
    day='day',
    indexes=[{'columns': ['day']}],
    reach={'sessions': [0, 30]},
    feeds={'attribution': 'day'}
) }}

with orders as (
    select
        order_id,
        customer_id,
        region,
        ordered_at,
        order_day as day,
        {{ total_money('sales_amount') }} as sales_amount
    from {{ ref('stg_order_lines') }}
    where {{ touched('ordered_at') }}
    group by
        order_id,
        customer_id,
        region,
        ordered_at,
        order_day
),

visits as (
    select
        customer_id,
        session_id,
        started_at,
        campaign
    from {{ ref('stg_sessions') }}
    where
        customer_id is not null
        and {{ touched('window_start', before=30) }}
),

visits_before as (
    select
        orders.order_id,
        visits.campaign,
        row_number() over (
            partition by orders.order_id
            order by visits.started_at asc, {{ by_code_point('visits.session_id') }} asc
        ) as nth,
        row_number() over (
            partition by orders.order_id
            order by
                case when visits.campaign is null then 1 else 0 end asc,
                visits.started_at desc,
                {{ by_code_point('visits.session_id') }} desc
        ) as nth_from_last_with_campaign
    from orders
    inner join visits
        on
            orders.customer_id = visits.customer_id
            and orders.ordered_at - interval '30' day < visits.started_at
            and orders.ordered_at >= visits.started_at
),

touches as (
    select
        order_id,
        max(case when nth = 1 then campaign end) as first_campaign,
        max(case when nth_from_last_with_campaign = 1 then campaign end) as last_campaign
    from visits_before
    group by
        order_id
)

select
    orders.day,
    orders.order_id,
    orders.region,
    orders.sales_amount,
    touches.first_campaign,
    touches.last_campaign
from orders
left join touches
    on orders.order_id = touches.order_id
