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
    {% do day_lock() %}
    {%- set code = local_md5(code_of_macros() ~ model.raw_code ~ key_watched(config.get('watches', {}))) -%}
    {%- set columns = get_column_schema_from_query(sql) | map(attribute='name') | list -%}
    {%- set is_new = existing is none or not existing.is_table or not day_has_columns(existing, columns) -%}
    {% call statement('take') %}
        create temporary table {{ taken }} on commit drop as
        with gone as (delete from {{ day_book('changed_keys') }} where model = '{{ this.name }}' returning key)
        select distinct cast(key as {{ config.get('key_type', 'text') }}) as key from gone;
        analyze {{ taken }}
    {% endcall %}
    {%- set found = run_query(
        "select count(*), count(*) - count(key), (select max(code) from " ~ day_book('day_builds') ~ " where model = '"
        ~ this.name ~ "' and source = '') from " ~ taken
    ).rows[0] -%}
    {%- set is_whole = found[1] > 0 or found[2] != code or should_full_refresh() -%}

    {% if is_new %}
        {% if existing is not none %}{% do adapter.drop_relation(existing) %}{% endif %}
        {% call statement('main') %}{{ get_create_table_as_sql(False, relation, sql) }}{% endcall %}
        {% do create_indexes(relation) %}
        {% do persist_docs(relation, model) %}
    {% elif is_whole or found[0] > 0 %}
        {%- set which = (' >= (select min(key) from ' if config.get('onwards') else ' in (select key from ') ~ taken ~ ')' -%}
        {%- set condition = 'true' if is_whole else key ~ which -%}
        {% call statement('delete_keys') %}delete from {{ relation }} where {{ condition }}{% endcall %}
        {% call statement('main') %}
            insert into {{ relation }} ({{ columns | join(', ') }})
            {{ sql if is_whole else key_filled(sql, which) }}
        {% endcall %}
    {% else %}
        {% call noop_statement('main', 'NOTHING TO DO') %}{{ sql }}{% endcall %}
    {% endif %}
    {% if is_new or is_whole %}
        {% do day_analyze(relation) %}
        {% do record_code(code) %}
    {% endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- The model's SQL with the condition in the place of each changed(...). -#}
{% macro key_filled(sql, which) %}
    {{ return(modules.re.sub('/\\* changed (\\S+) \\*/ true', '\\1' ~ which, sql)) }}
{% endmacro %}

{#- A text that changes with the values watched. -#}
{% macro key_watched(watches) %}
    {%- set found = [] -%}
    {%- for id in model.depends_on.nodes if id in graph.nodes and graph.nodes[id].name in watches -%}
        {%- set node = graph.nodes[id] -%}
        {%- do found.append(run_query(
            "select md5(string_agg(cast(x as text), ',' order by cast(x as text))) from (select "
            ~ watches[node.name] | join(', ') ~ " from " ~ node.schema ~ "." ~ node.alias ~ ") as x"
        ).rows[0][0]) -%}
    {%- endfor -%}
    {{ return(found | join(' ')) }}
{% endmacro %}

{#- Writes down whose rows are in these days of a model built by day, for those that it feeds; null is everybody's. -#}
{% macro feed_keys(relation, feeds, day, ranges) %}
    {% if feeds and target.type == 'postgres' %}
        {%- set everything = ranges == day_everything() -%}
        {% for name, key in feeds.items() %}
            {% call statement('feed_' ~ name) %}
                insert into {{ day_book('changed_keys') }} (model, key)
                {% if everything %}
                values ('{{ name }}', null)
                {% else %}
                select distinct '{{ name }}', {{ key }} from {{ relation }} where {{ day_condition('day', day, ranges) }}
                {% endif %}
            {% endcall %}
        {% endfor %}
    {% endif %}
{% endmacro %}
