with statements as (
    select
        event_id,
        product_id,
        valid_from,
        occurred_at as stated_at,
        unit_cost,
        coalesce(is_withdrawn, false) as is_withdrawn,
        row_number() over (
            partition by product_id
            order by occurred_at, {{ by_code_point('event_id') }}
        ) as number
    from {{ source('events', 'product_costs') }}
),

late as (
    select *
    from statements
    where stated_at > valid_from
),

-- What was known right before each late statement (is_after false), and with it.
known as (
    select
        late.event_id as of_event_id,
        moments.is_after,
        statements.product_id,
        statements.valid_from,
        statements.unit_cost,
        statements.is_withdrawn,
        row_number() over (
            partition by late.event_id, moments.is_after, statements.valid_from
            order by statements.number desc
        ) as nth_from_last
    from late
    cross join (
        select false as is_after
        union all
        select true as is_after
    ) as moments
    inner join statements
        on
            late.product_id = statements.product_id
            and (
                late.number > statements.number
                or (moments.is_after and late.number = statements.number)
            )
),

costs as (
    select
        of_event_id,
        is_after,
        valid_from,
        lead(valid_from) over (partition by of_event_id, is_after order by valid_from) as valid_until,
        unit_cost
    from known
    where
        nth_from_last = 1
        and not is_withdrawn
),

touched_lines as (
    select
        late.event_id,
        lines.order_day as day,
        lines.quantity,
        before.unit_cost as unit_cost_before,
        since.unit_cost
    from late
    inner join {{ ref('stg_order_lines') }} as lines
        on
            late.product_id = lines.product_id
            and late.valid_from <= lines.ordered_at
            and late.stated_at > lines.ordered_at
    left join costs as before
        on
            late.event_id = before.of_event_id
            and not before.is_after
            and {{ holds_at('before', 'lines.ordered_at') }}
    left join costs as since
        on
            late.event_id = since.of_event_id
            and since.is_after
            and {{ holds_at('since', 'lines.ordered_at') }}
    where
        coalesce(before.unit_cost, -1) <> coalesce(since.unit_cost, -1)
)

select
    touched_lines.day,
    late.event_id,
    late.product_id,
    late.valid_from,
    late.stated_at,
    {{ total_count('touched_lines.quantity') }} as units,
    {{ total_count('case when touched_lines.unit_cost_before is null then touched_lines.quantity else 0 end') }}
        as units_unknown_before,
    {{ total_money('touched_lines.quantity * touched_lines.unit_cost_before') }} as cost_before_amount,
    {{ total_money('touched_lines.quantity * touched_lines.unit_cost') }} as cost_amount
from touched_lines
inner join late on touched_lines.event_id = late.event_id
group by
    touched_lines.day,
    late.event_id,
    late.product_id,
    late.valid_from,
    late.stated_at
