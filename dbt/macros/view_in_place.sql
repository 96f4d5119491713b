{#-
Views on Postgres, replaced in place, and only when they changed. dbt's own way is to make a new one, rename it, and drop
the old one with all views that read it: every few minutes, people would find marts gone until dbt came to them.

A view whose columns lose their order, names or types can't be replaced. Then it is dropped with its readers, which dbt
makes again in the same build, for it looks whether each is there.
-#}
{% materialization view, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set relation = this.incorporate(type='view') -%}
    {%- set code = local_md5(sql ~ model.description ~ tojson(model.columns)) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- set same = run_query(
        "select 1 where " ~ is_recorded(code) ~ " and to_regclass('" ~ this.schema ~ "." ~ this.identifier
        ~ "') is not null"
    ) -%}
    {% if same.rows | length and not should_full_refresh() %}
        {% call noop_statement('main', 'NOTHING TO DO') %}{{ sql }}{% endcall %}
    {% else %}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {% do run_together('lock', [day_lock()]) %}
        {% if existing is not none and not existing.is_view %}{% do adapter.drop_relation(existing) %}{% endif %}
        {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
        {% call statement('main') %}
            do $replace$
            begin
                create or replace view {{ relation }} as {{ sql }};
            exception when invalid_table_definition then
                drop view {{ relation }} cascade;
                create view {{ relation }} as {{ sql }};
            end
            $replace$
        {% endcall %}
        {% do persist_docs(relation, model) %}
        {% do run_together('record', record_code(code)) %}
        {{ run_hooks(post_hooks, inside_transaction=True) }}
        {% do adapter.commit() %}
    {% endif %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}
