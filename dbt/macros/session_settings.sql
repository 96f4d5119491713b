{#-
What each model's transaction is told. Room for a year of orders to be grouped in memory: Postgres' 4 MB are soon full, and
then it sorts on disk. No compiling of queries: for some seconds of work it costs more than it gives. No waiting for the
disk at a commit: a crash of the server may lose the newest builds, whole ones and in order, and the next does them again.
-#}
{% macro session_settings() -%}
    {{ adapter.dispatch('session_settings')() }}
{%- endmacro %}

{% macro postgres__session_settings() -%}
    set local work_mem = '48MB'; set local jit = off; set local synchronous_commit = off
{%- endmacro %}

{% macro athena__session_settings() -%}
{%- endmacro %}
