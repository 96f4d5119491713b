{#- dbt's own has no zone on Postgres, where every time of ours has one. -#}
{% macro postgres__snapshot_get_time() -%}
    current_timestamp
{%- endmacro %}
