{#-
What is added up over days: `materialized='by_key', key='customer_id'`, and `where {{ changed('customer_id') }}` over a
model that is built by day and names this one in its `feeds`. That one writes down, in the transaction that writes its
days, the keys of the rows that it deleted and wrote (intermediate.changed_keys); this one takes these keys and computes
their rows anew, in one transaction as well. So after each build it is what a build of everything would be, whenever
either is killed. Rows of the model it reads may be newer than the keys taken: then their keys are there still, for the
next build.

- key_type: of the key's column, where it is no text.
- onwards: whatever comes after the least changed key is changed too, as with a running sum.
- watches={'dim_products': ['product_id', 'category']}: when any of these values changed, everything is computed anew.

Everything is, as well, when the model is new, its SQL or a macro changed, with --full-refresh, and when all days were
written.
On Athena such a model is a table: it says `materialized='by_key' if target.type == 'postgres' else 'table'`.
-#}

{#- True for rows of a key that has changed. -#}
{% macro changed(key) -%}
    /* changed {{ key }} */ true
{%- endmacro %}

{% materialization by_key, adapter='postgres' %}
    {%- set key = config.require('key') -%}
    {%- set relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set taken = 'taken_by_' ~ this.name -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('take', fetch_result=true) %}
        {{ day_lock() }}
        create temporary table {{ taken }} on commit drop as
        with gone as (delete from {{ day_book('changed_keys') }} where model = '{{ this.name }}' returning key)
        select distinct cast(key as {{ config.get('key_type', 'text') }}) as key from gone;
        analyze {{ taken }};
        select
            (select count(*) from {{ taken }}) as changes,
            (select count(*) from {{ taken }} where key is null) as unknown,
            (select max(code) from {{ day_book('day_builds') }} where model = '{{ this.name }}') as code,
            {{ key_watched(config.get('watches', {})) }} as watched
    {% endcall %}
    {%- set changes, unknown, code_before, watched = load_result('take').data[0] -%}
    {%- set code = local_md5(code_of_macros() ~ model.raw_code ~ watched) -%}
    {%- set is_whole = existing is none or unknown > 0 or code_before != code or should_full_refresh() -%}
    {%- set is_new = is_whole and not day_has_columns(existing, sql) -%}

    {% if is_new %}
        {% if existing is not none %}{% do adapter.drop_relation(existing) %}{% endif %}
        {% call statement('main') %}{{ get_create_table_as_sql(False, relation, sql) }}{% endcall %}
        {% do create_indexes(relation) %}
        {% do persist_docs(relation, model) %}
    {% elif is_whole or changes > 0 %}
        {%- set least = config.get('onwards') -%}
        {%- set which = (' >= (select min(key) from ' if least else ' in (select key from ') ~ taken ~ ')' -%}
        {% call statement('main') %}
            delete from {{ relation }}{{ '' if is_whole else ' where ' ~ key ~ which }};
            insert into {{ relation }} {{ sql if is_whole else key_filled(sql, which) }}
        {% endcall %}
    {% else %}
        {% call noop_statement('main', 'NOTHING TO DO') %}{{ sql }}{% endcall %}
    {% endif %}
    {% if is_whole %}{% do run_together('record', day_analyze(relation) + record_code(code)) %}{% endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- The model's SQL with the condition in the place of each changed(...). -#}
{% macro key_filled(sql, which) %}
    {{ return(modules.re.sub('/\\* changed (\\S+) \\*/ true', '\\1' ~ which, sql)) }}
{% endmacro %}

{#- As SQL: a text that changes with the values watched. -#}
{% macro key_watched(watches) -%}
    concat(
        {%- for id in model.depends_on.nodes if id in graph.nodes and graph.nodes[id].name in watches %}
        (
            select concat(count(*), ' ', sum(hashtextextended(cast(x as text), 0)))
            from (select {{ watches[graph.nodes[id].name] | join(', ') }} from {{ ref(graph.nodes[id].name) }}) as x
        ), ' ',
        {%- endfor %}
        ''
    )
{%- endmacro %}

{#- Statements that write down whose rows are in these days of a model built by day, for those that it feeds; null is
everybody's. -#}
{% macro feed_keys(relation, feeds, day, ranges) %}
    {%- set statements, everything = [], ranges == day_everything() -%}
    {%- for name, key in feeds.items() if ranges and target.type == 'postgres' -%}
        {%- do statements.append(
            "insert into " ~ day_book('changed_keys') ~ " (model, key) " ~ (
                "values ('" ~ name ~ "', null)" if everything else
                "select distinct '" ~ name ~ "', " ~ key ~ " from " ~ relation ~ " where "
                ~ day_condition('day', day, ranges)
            )
        ) -%}
    {%- endfor -%}
    {{ return(statements) }}
{% endmacro %}
