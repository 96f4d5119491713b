{{ config(materialized='view') }}

with runs as (
    select
        run,
        engine,
        scope,
        status,
        certificate,
        verified_at,
        promoted_at,
        requested_by,
        reason
    from {{ source('ops', 'replays') }}
    where certificate is not null
)

select
    runs.run,
    {{ json_text('certified.item', 'name') }} as aggregate,
    runs.engine,
    runs.scope,
    runs.status,
    case
        when {{ json_text('certified.item', 'is_new') }} = 'true' then 'new'
        when cast({{ json_text('certified.item', 'mismatches') }} as bigint) = 0 then 'equal'
        else 'different'
    end as result,
    cast({{ json_text('certified.item', 'equal') }} as bigint) as rows_equal,
    cast({{ json_text('certified.item', 'mismatches') }} as bigint) as mismatches,
    {{ json_total('certified.item', 'excluded') }} as excluded,
    {{ json_text('certified.item', 'sha256') }} as result_hash,
    runs.verified_at,
    runs.promoted_at,
    runs.requested_by,
    runs.reason
from runs
{{ json_items('runs.certificate', 'aggregates', as_item='certified') }}
