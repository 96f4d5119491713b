{#-
JSON as ops.replays has it: jsonb in Postgres, a text in the lake.
-#}

{#- A join that gives a row for each object in the array under the key, as `as_item.item`. -#}
{% macro json_items(json, key, as_item) -%}
    {{ adapter.dispatch('json_items')(json, key, as_item) }}
{%- endmacro %}

{% macro postgres__json_items(json, key, as_item) -%}
    cross join lateral jsonb_array_elements({{ json }} -> '{{ key }}') as {{ as_item }} (item)
{%- endmacro %}

{% macro athena__json_items(json, key, as_item) -%}
    cross join unnest(cast(json_extract({{ json }}, '$.{{ key }}') as array(json))) as {{ as_item }} (item)
{%- endmacro %}

{#- The value under the key, as text. -#}
{% macro json_text(json, key) -%}
    {{ adapter.dispatch('json_text')(json, key) }}
{%- endmacro %}

{% macro postgres__json_text(json, key) -%}
    ({{ json }} ->> '{{ key }}')
{%- endmacro %}

{% macro athena__json_text(json, key) -%}
    json_extract_scalar({{ json }}, '$.{{ key }}')
{%- endmacro %}

{#- The sum of the numbers in the object under the key, as bigint; 0 over none. -#}
{% macro json_total(json, key) -%}
    {{ adapter.dispatch('json_total')(json, key) }}
{%- endmacro %}

{% macro postgres__json_total(json, key) -%}
    (
        select cast(coalesce(sum(cast(numbers.value as bigint)), 0) as bigint)
        from jsonb_each_text({{ json }} -> '{{ key }}') as numbers
    )
{%- endmacro %}

{% macro athena__json_total(json, key) -%}
    reduce(
        map_values(cast(json_extract({{ json }}, '$.{{ key }}') as map(varchar, bigint))),
        cast(0 as bigint), (total, number) -> total + number, total -> total
    )
{%- endmacro %}
