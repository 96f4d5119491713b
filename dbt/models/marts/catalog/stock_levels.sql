{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='day',
    key_type='date',
    onwards=true,
    indexes=[{'columns': ['day']}]
) }}

with before as (
    select
        product_id,
        warehouse,
        sum(net_change) as level
    from {{ ref('int_stock_days') }}
    where not {{ changed('day') }}
    group by
        product_id,
        warehouse
),

days as (
    select
        day,
        product_id,
        warehouse,
        sold,
        restocked,
        adjusted,
        net_change,
        sum(net_change) over (
            partition by product_id, warehouse
            order by day
            rows between unbounded preceding and current row
        ) as change_since
    from {{ ref('int_stock_days') }}
    where {{ changed('day') }}
)

select
    days.day,
    days.product_id,
    days.warehouse,
    days.sold,
    days.restocked,
    days.adjusted,
    days.net_change,
    cast(coalesce(before.level, 0) + days.change_since as bigint) as level
from days
left join before
    on
        days.product_id = before.product_id
        and days.warehouse = before.warehouse
