{#-
Times that the unit tests write are in UTC and say so, as in 2026-03-31 12:00+00. Athena's have no zone, and none of its
columns takes such a text.
-#}
{% macro athena__safe_cast(field, type) -%}
    {%- set value = field -%}
    {%- if field is string and type.startswith('timestamp') -%}
        {%- set value = field | replace('+00:00', '') | replace('+00', '') | replace('T', ' ') -%}
    {%- endif -%}
    try_cast({{ value }} as {{ type }})
{%- endmacro %}
