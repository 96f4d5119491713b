{#-
Tables that are built whole on Postgres, as dbt's own materialization has them: made beside the old one, which readers
see until the new one takes its name. In three statements instead of eleven. What a contract says of the query's columns
is asked when it, the SQL, that of a model before it or a macro is another than at the last build; the columns of the
table have the contract's types at any time.
-#}
{% materialization table, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set relation = this.incorporate(type='table') -%}
    {%- set new = make_intermediate_relation(relation) -%}
    {%- set code = table_code(sql) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('known', fetch_result=true) %}
        {{ day_lock() }}
        select 1 where {{ is_recorded(code) }}
    {% endcall %}
    {%- set is_known = load_result('known').data | length > 0 -%}
    {% if config.get('contract').enforced and not is_known %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    {% if existing is not none and not existing.is_table %}{% do adapter.drop_relation(existing) %}{% endif %}
    {% call statement('main') %}
        drop table if exists {{ new }};
        {% if config.get('contract').enforced %}
        create table {{ new }} {{ get_table_columns_and_constraints() }};
        insert into {{ new }} {{ get_select_subquery(sql) }}
        {% else %}
        create table {{ new }} as {{ sql }}
        {% endif %}
    {% endcall %}
    {% do create_indexes(new) %}
    {%- set comments = ['comment on table ' ~ new ~ ' is ' ~ postgres_escape_comment(model.description)] -%}
    {%- for column in model.columns.values() -%}
        {%- do comments.append(
            'comment on column ' ~ new ~ '.' ~ column.name ~ ' is ' ~ postgres_escape_comment(column.description)
        ) -%}
    {%- endfor -%}
    {%- set swap = [
        'drop table if exists ' ~ relation ~ ' cascade', 'alter table ' ~ new ~ ' rename to ' ~ this.identifier
    ] -%}
    {% do run_together('swap', comments + swap + ([] if is_known else record_code(code))) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- What the query's columns and their types follow from, the sources aside. -#}
{% macro table_code(sql) %}
    {%- set texts, left, seen = [code_of_macros(), sql, tojson(model.columns)], model.depends_on.nodes | list, [] -%}
    {%- for _ in range(1000) if left -%}
        {%- set id = left.pop() -%}
        {%- if id in graph.nodes and id not in seen -%}
            {%- do seen.append(id) -%}
            {%- do texts.append(graph.nodes[id].raw_code) -%}
            {%- do left.extend(graph.nodes[id].depends_on.nodes) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(local_md5(texts | join('\n'))) }}
{% endmacro %}
