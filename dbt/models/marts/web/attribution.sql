{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='day',
    key_type='date',
    indexes=[{'columns': ['day']}]
) }}

with credited as (
    select
        day,
        'first' as touch,
        region,
        first_campaign as campaign,
        sales_amount
    from {{ ref('int_touches') }}
    where {{ changed('day') }}

    union all

    select
        day,
        'last' as touch,
        region,
        last_campaign as campaign,
        sales_amount
    from {{ ref('int_touches') }}
    where {{ changed('day') }}
)

select
    day,
    touch,
    region,
    campaign,
    count(*) as orders,
    {{ total_money('sales_amount') }} as sales_amount
from credited
group by
    day,
    touch,
    region,
    campaign
