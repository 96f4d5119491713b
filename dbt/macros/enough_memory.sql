{#- Room for a year of orders to be grouped in memory: Postgres' 4 MB are soon full, and then it sorts on disk. -#}
{% macro enough_memory() -%}
    {{ adapter.dispatch('enough_memory')() }}
{%- endmacro %}

{% macro postgres__enough_memory() -%}
    set local work_mem = '48MB'
{%- endmacro %}

{% macro athena__enough_memory() -%}
{%- endmacro %}
