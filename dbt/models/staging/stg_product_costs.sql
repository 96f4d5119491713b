{#- A statement made later takes the place of an earlier one about the same time, and may take it back. -#}
with ranked as (
    select
        product_id,
        valid_from,
        unit_cost,
        is_withdrawn,
        row_number() over (
            partition by product_id, valid_from
            order by occurred_at desc, {{ by_code_point('event_id') }} desc
        ) as nth_from_last
    from {{ source('events', 'product_costs') }}
)

select
    product_id,
    valid_from,
    lead(valid_from) over (partition by product_id order by valid_from) as valid_until,
    unit_cost
from ranked
where
    nth_from_last = 1
    and not coalesce(is_withdrawn, false)
