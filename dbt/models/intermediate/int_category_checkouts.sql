{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='session_day',
    key_type='date',
    watches={'dim_products': ['product_id', 'category']},
    indexes=[{'columns': ['session_day']}]
) }}

{#- A session once in each category; it has one day and one region. -#}
with carts as (
    select distinct
        checkouts.session_day,
        checkouts.region,
        products.category,
        checkouts.session_id,
        checkouts.is_abandoned
    from {{ ref('int_checkouts') }} as checkouts
    inner join {{ ref('dim_products') }} as products on checkouts.product_id = products.product_id
    where
        products.category is not null
        and {{ changed('checkouts.session_day') }}
)

select
    session_day,
    {{ level_of('region') }} as level,
    region,
    category,
    count(*) as checkouts,
    count(*) filter (where is_abandoned) as abandoned_checkouts
from carts
group by
    grouping sets ((session_day, region, category), (session_day, category))
