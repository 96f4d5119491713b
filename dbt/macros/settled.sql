{#-
True for days that no longer change on their own, as far as a model that is built by day knows: those that were final at
its last build, and none while a replay has changed something since. A test that compares such a model with a view that
is always new looks at these days alone, or it would find every event that came while dbt ran.
-#}
{% macro settled(day, model_name) -%}
    {{ day }} < (
        select
            case
                when count(*) > 0 and count(*) = count(final_until) then min(cast(substr(final_until, 1, 10) as date))
                else date '1970-01-01'
            end
        from {{ day_book('day_builds') }}
        where model = '{{ model_name }}'
    )
    and not exists (
        select 1
        from {{ source('ops', 'replays') }} as replays
        where
            {{ replay_changed_at() }} is not null
            and not exists (
                select 1
                from {{ day_book('day_replays') }} as taken
                where
                    taken.model = '{{ model_name }}'
                    and taken.run = replays.run
                    and taken.changed_at = {{ day_text(replay_changed_at()) }}
            )
    )
{%- endmacro %}
