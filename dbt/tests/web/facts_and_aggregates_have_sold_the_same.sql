-- A product and day on which the orders have other units or other sales than the aggregate of what products do.
with facts as (
    select
        day,
        product_id,
        units,
        sales_amount
    from {{ ref('int_product_sales') }}
    where
        (units <> 0 or sales_amount <> 0)
        and {{ settled('day', 'int_product_sales') }}
        and {{ settled('day', 'int_product_days') }}
),

aggregates as (
    select
        day,
        product_id,
        units,
        sales_amount
    from {{ ref('int_product_days') }}
    where
        (units <> 0 or sales_amount <> 0)
        and {{ settled('day', 'int_product_sales') }}
        and {{ settled('day', 'int_product_days') }}
)

select
    coalesce(facts.day, aggregates.day) as day,
    coalesce(facts.product_id, aggregates.product_id) as product_id,
    facts.units as units_of_facts,
    aggregates.units as units_of_aggregates,
    facts.sales_amount as sales_of_facts,
    aggregates.sales_amount as sales_of_aggregates
from facts
full outer join aggregates
    on
        facts.day = aggregates.day
        and facts.product_id = aggregates.product_id
where
    facts.product_id is null
    or aggregates.product_id is null
    or facts.units <> aggregates.units
    or facts.sales_amount <> aggregates.sales_amount
