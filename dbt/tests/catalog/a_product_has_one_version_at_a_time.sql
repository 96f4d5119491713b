-- A version of a product that begins before another ends, or ends before it begins.
with versions as (
    select
        product_id,
        dbt_valid_from,
        dbt_valid_to,
        lead(dbt_valid_from) over (partition by product_id order by dbt_valid_from) as next_from
    from {{ ref('products') }}
)

select
    product_id,
    dbt_valid_from,
    dbt_valid_to,
    next_from
from versions
where
    dbt_valid_to < dbt_valid_from
    or dbt_valid_to > next_from
    or (dbt_valid_to is null and next_from is not null)
