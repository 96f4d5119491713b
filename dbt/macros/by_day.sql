{#-
Heavy models are built by day: `materialized='by_day', day='order_day'`, and `where {{ touched('occurred_at') }}` over
what they read. A build computes anew the days that may have changed since the last one, and no others:

- days that were not final then, for a source (ops.finality),
- days within windows that a replay has changed since (ops.replays; promoted, restated late events, rolled back),
- all, when readers see another version of a source or its tables were made anew (ops.versions), when the SQL of the
  model, of a view that it reads by or of any macro changed, and with --full-refresh.

On Postgres the days are deleted and written again in one transaction, which also records what was known when they were
read. So a build that is killed leaves everything as it was, one that is done again changes nothing, and of two at once
the second waits. What changes while a build reads is not in what it records: the next one computes it.

For that to hold, such a model reads sources alone, by way of views (staging), and no table that a build made before.
-#}

{#-
True for rows whose time is in a touched day, or so many days before or after one. ``shop`` is the column that names a
row's shop, in a model with `shops=true`, whose days are each shop's own.
-#}
{% macro touched(moment, before=0, after=0, shop=none) -%}
    /* touched {{ moment }} {{ before }} {{ after }}{{ ' ' ~ shop if shop }} */ true
{%- endmacro %}

{% materialization by_day, default %}
    {%- set day = config.require('day') -%}
    {%- set feeds = config.get('feeds', {}) -%}
    {%- set relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set sources, code = day_sources(model), day_code() -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- set known = day_known(sources) -%}
    {%- set ranges = day_ranges(sources, code, known, config.get('reach', {})) -%}
    {%- if existing is none or should_full_refresh() -%}{%- set ranges = day_everything() -%}{%- endif -%}
    {%- set is_new = ranges == day_everything() and not day_has_columns(existing, sql) -%}
    {%- if config.get('onwards', false) and ranges -%}
        {%- set ranges = [[ranges[0][0], day_everything()[0][1]]] -%}
    {%- endif -%}
    {%- set fed = feed_keys(relation, feeds, day, ranges) -%}
    {% do log(this.render() ~ ' by day: ' ~ day_words(ranges), info=false) %}

    {% if is_new %}
        {% if existing is not none %}{% do adapter.drop_relation(existing) %}{% endif %}
        {% call statement('main') %}{{ get_create_table_as_sql(False, relation, sql) }}{% endcall %}
        {% do create_indexes(relation) %}
        {% do persist_docs(relation, model) %}
    {% elif ranges %}
        {%- set gone = 'delete from ' ~ relation ~ ' where ' ~ day_condition('day', day, ranges) -%}
        {% do run_together('delete_days', fed + [gone]) %}
        {% call statement('main') %}insert into {{ relation }} {{ day_filled(sql, ranges) }}{% endcall %}
    {% else %}
        {% call noop_statement('main', 'NOTHING TO DO') %}{{ sql }}{% endcall %}
    {% endif %}
    {%- set analyzed = day_analyze(relation) if is_new or ranges == day_everything() else [] -%}
    {% do run_together('record', fed + analyzed + day_record(sources, code, known)) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- Several statements; on Postgres at once, for each that is sent costs dbt more than Postgres. -#}
{% macro run_together(name, statements) %}
    {{ return(adapter.dispatch('run_together')(name, statements)) }}
{% endmacro %}

{% macro postgres__run_together(name, statements) %}
    {% if statements %}{% call statement(name) %}{{ statements | join(';\n') }}{% endcall %}{% endif %}
{% endmacro %}

{% macro athena__run_together(name, statements) %}
    {% for text in statements %}{% call statement(name) %}{{ text }}{% endcall %}{% endfor %}
{% endmacro %}

{#- Names of the aggregates and facts that a model reads, through views. -#}
{% macro day_sources(node) %}
    {{ return(day_upstream(node).sources) }}
{% endmacro %}

{#- These, and the views' ids; each in order. -#}
{% macro day_upstream(node) %}
    {%- set found, views, left = [], [], node.depends_on.nodes | list -%}
    {%- for _ in range(100) if left -%}
        {%- set id = left.pop() -%}
        {%- if id in graph.sources -%}
            {%- if graph.sources[id].name not in found -%}{%- do found.append(graph.sources[id].name) -%}{%- endif -%}
        {%- elif id in graph.nodes and graph.nodes[id].config.materialized in ('view', 'ephemeral') -%}
            {%- if id not in views -%}{%- do views.append(id) -%}{%- endif -%}
            {%- do left.extend(graph.nodes[id].depends_on.nodes) -%}
        {%- elif id in graph.nodes and graph.nodes[id].resource_type == 'model' -%}
            {%- do exceptions.raise_compiler_error(
                node.name ~ ' is built by day and reads ' ~ graph.nodes[id].name ~ ', a table that a build makes: it'
                ~ ' would not see what changes between the two. Read sources through views, or make it a table'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return({'sources': found | sort, 'views': views | sort}) }}
{% endmacro %}

{#- What is known of the sources now, read before anything else is, by one who has the model's lock. -#}
{% macro day_known(sources) %}
    {%- set names = "'" ~ sources | join("', '") ~ "'" -%}
    {%- set changed = replay_changed_at() -%}
    {% call statement('known', fetch_result=true) %}
        {{ day_lock() }}
        select
            'state' as kind, v.aggregate as name, {{ as_text('v.version') }} as a, {{ day_text('v.since') }} as b,
            {{ day_text('f.final_until') }} as c, null as d
        from {{ source('ops', 'versions') }} as v
        left join {{ source('ops', 'finality') }} as f on f.aggregate = v.aggregate
        where v.since is not null and v.aggregate in ({{ names }})
        union all
        select 'run', r.run, {{ day_text(changed) }}, {{ as_text('r.plan') }}, {{ as_text('r.changes') }}, null
        from {{ source('ops', 'replays') }} as r
        where {{ changed }} is not null and not exists (
            select 1 from {{ day_book('day_replays') }} as d
            where d.model = '{{ this.name }}' and d.run = r.run and d.changed_at = {{ day_text(changed) }}
        )
        union all
        select 'built', source, code, {{ as_text('version') }}, since, final_until
        from {{ day_book('day_builds') }}
        where model = '{{ this.name }}'
    {% endcall %}
    {%- set found = {'state': {}, 'run': {}, 'built': {}} -%}
    {%- for row in load_result('known').table.rows -%}{%- do found[row[0]].update({row[1]: row}) -%}{%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- The touched days as [[first, after the last], ...] in order, as texts; '' and '9999-12-31' are without end. -#}
{% macro day_ranges(sources, code, known, reach) %}
    {%- set found = [] -%}
    {%- if not sources or known.built.keys() | sort != sources -%}{{ return(day_everything()) }}{%- endif -%}
    {%- for name in sources -%}
        {%- set was, now, wider = known.built[name], known.state.get(name), reach.get(name, [0, 0]) -%}
        {%- set is_same = now and was[2] == code and was[3] == now[2] and was[4] == now[3] -%}
        {%- if not is_same or was[5] is none -%}{{ return(day_everything()) }}{%- endif -%}
        {%- do found.append([day_add(was[5], -wider[0] - day_margin()), day_everything()[0][1]]) -%}
    {%- endfor -%}
    {%- for run in known.run.values() -%}
        {%- do found.extend(day_ranges_of_run(fromjson(run[3]), fromjson(run[4] or '{}'), sources, reach)) -%}
    {%- endfor -%}
    {{ return(day_merged(found)) }}
{% endmacro %}

{% macro day_everything() %}
    {{ return([['', '9999-12-31']]) }}
{% endmacro %}

{#- The days that a replay has changed. One that only proved that all is equal has changed none. -#}
{% macro day_ranges_of_run(plan, changes, sources, reach) %}
    {%- set found = [] -%}
    {%- for planned in plan.aggregates if planned.name in sources -%}
        {%- set change, wider = changes.get(planned.name, {}), reach.get(planned.name, [0, 0]) -%}
        {%- set is_equal = change.get('rows_added') == 0 and change.get('rows_removed') == 0 -%}
        {%- for window in planned.windows if not is_equal -%}
            {#- A window of a fact may end a millisecond after midnight. -#}
            {%- set time_of_day = (window.until or '')[11:] -%}
            {%- set is_midnight = modules.re.search('^00:00:00([.]0*)?([Z+]|$)', time_of_day) is not none -%}
            {%- do found.append([
                day_add(window.since, -wider[0] - day_margin()) if window.since else '',
                day_add(window.until, wider[1] + day_margin() + (0 if is_midnight else 1)) if window.until else '9999-12-31',
            ]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- Ranges that meet or overlap as one. -#}
{% macro day_merged(ranges) %}
    {%- set merged = [] -%}
    {%- for first, last in ranges | sort -%}
        {%- if merged and first <= merged[-1][1] -%}
            {%- set before = merged.pop() -%}
            {%- do merged.append([before[0], [before[1], last] | max]) -%}
        {%- else -%}
            {%- do merged.append([first, last]) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(merged) }}
{% endmacro %}

{#- The day of a time written as text (UTC, ISO 8601), some days later, as text. -#}
{% macro day_add(moment, days) %}
    {%- set day = modules.datetime.datetime.strptime(moment[:10], '%Y-%m-%d') -%}
    {{ return((day + modules.datetime.timedelta(days=days)).strftime('%Y-%m-%d')) }}
{% endmacro %}

{#- The model's SQL with the conditions in the place of each touched(...). -#}
{% macro day_filled(sql, ranges) %}
    {%- set filled, pattern = [sql], '(/\* touched (\S+) (\d+) (\d+)(?: (\S+))? \*/ true)' -%}
    {%- for text, column, before, after, shop in modules.re.findall(pattern, sql) -%}
        {%- set condition = day_condition('time', column, ranges, before | int, after | int, shop) -%}
        {%- do filled.append(filled[-1].replace(text, condition)) -%}
    {%- endfor -%}
    {{ return(filled[-1]) }}
{% endmacro %}

{#- A time of UTC's day is in the same day of the shop, or at most one before or after. -#}
{% macro day_margin() %}
    {{ return(0 if shop_zone() == 'UTC' and not model.config.get('shops') else 1) }}
{% endmacro %}

{#-
A condition: the time, or day, in the column is within the ranges, or so many days before or after one. Times are first
looked for by UTC's days, for which there are indexes, and then by the shop's.
-#}
{% macro day_condition(kind, column, ranges, before=0, after=0, shop=none) %}
    {%- set found, margin = [], day_margin() if kind == 'time' else 0 -%}
    {%- for first, last in ranges -%}
        {%- set ends = [] -%}
        {%- if first -%}
            {%- do ends.append(column ~ ' >= ' ~ day_literal(kind, day_add(first, -before - margin))) -%}
            {%- if margin -%}
                {%- do ends.append(shop_day(column, shop) ~ ' >= ' ~ day_literal('day', day_add(first, -before))) -%}
            {%- endif -%}
        {%- endif -%}
        {%- if last < '9999' -%}
            {%- do ends.append(column ~ ' < ' ~ day_literal(kind, day_add(last, after + margin))) -%}
            {%- if margin -%}
                {%- do ends.append(shop_day(column, shop) ~ ' < ' ~ day_literal('day', day_add(last, after))) -%}
            {%- endif -%}
        {%- endif -%}
        {%- do found.append('(' ~ (ends | join(' and ') or 'true') ~ ')') -%}
    {%- endfor -%}
    {{ return('(' ~ found | join(' or ') ~ ')') }}
{% endmacro %}

{% macro day_literal(kind, day) %}
    {{ return(adapter.dispatch('day_literal')(kind, day)) }}
{% endmacro %}

{% macro postgres__day_literal(kind, day) %}
    {{ return("date '" ~ day ~ "'" if kind == 'day' else "timestamptz '" ~ day ~ " 00:00:00+00'") }}
{% endmacro %}

{% macro athena__day_literal(kind, day) %}
    {{ return("date '" ~ day ~ "'" if kind == 'day' else "timestamp '" ~ day ~ " 00:00:00'") }}
{% endmacro %}

{#- What `insights dbt` says of all macros: any of them may be in a model's SQL. -#}
{% macro code_of_macros() %}
    {{ return(env_var('INSIGHTS_DBT_MACROS', '')) }}
{% endmacro %}

{#- What a model's numbers depend on besides the sources: its own SQL, that of the views it reads them by, and macros. -#}
{% macro day_code() %}
    {%- set texts = [code_of_macros(), model.raw_code, model.config.get('reach', {}), model.config.get('onwards', '')] -%}
    {%- if model.config.get('shops') -%}{%- do texts.append(env_var('INSIGHTS_DBT_SHOP_DAYS', '')) -%}{%- endif -%}
    {%- for id in day_upstream(model).views -%}{%- do texts.append(graph.nodes[id].raw_code) -%}{%- endfor -%}
    {{ return(local_md5(texts | join('\n'))) }}
{% endmacro %}

{% macro day_words(ranges) %}
    {%- set words = [] -%}
    {%- for first, last in ranges -%}
        {%- do words.append((first or 'all') ~ ' to ' ~ (last if last < '9999' else 'the end')) -%}
    {%- endfor -%}
    {{ return(words | join(', ') or 'none') }}
{% endmacro %}

{#- Whether the table is there and has the columns of the SQL, in their order. -#}
{% macro day_has_columns(existing, sql) %}
    {%- if existing is none or not existing.is_table -%}{{ return(false) }}{%- endif -%}
    {%- set there = adapter.get_columns_in_relation(existing) | map(attribute='name') | list -%}
    {{ return(there == get_column_schema_from_query(sql) | map(attribute='name') | list) }}
{% endmacro %}

{% macro day_book(name) %}
    {{ return('intermediate.' ~ name) }}
{% endmacro %}

{#- When a replay last changed what readers see; null when it never did. Athena's greatest is null for any null. -#}
{% macro replay_changed_at() %}
    {{ return('greatest(coalesce(promoted_at, rolled_back_at), coalesce(rolled_back_at, promoted_at))') }}
{% endmacro %}

{#- A time as text that compares and parses alike everywhere: 2026-03-02 10:15:00.000000, UTC. -#}
{% macro day_text(value) %}
    {{ return(adapter.dispatch('day_text')(value)) }}
{% endmacro %}

{% macro postgres__day_text(value) %}
    {{ return("to_char(" ~ value ~ " at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')") }}
{% endmacro %}

{% macro athena__day_text(value) %}
    {{ return("date_format(" ~ value ~ ", '%Y-%m-%d %H:%i:%s.%f')") }}
{% endmacro %}

{#- Two builds of one model take turns. Athena has no lock: there, whoever schedules builds sees to it. -#}
{% macro day_lock() -%}
    {{ adapter.dispatch('day_lock')() }}
{%- endmacro %}

{% macro postgres__day_lock() -%}
    select pg_advisory_xact_lock(hashtextextended('insights.dbt.{{ this.name }}', 0));
{%- endmacro %}

{% macro athena__day_lock() %}{% endmacro %}

{% macro day_analyze(relation) %}
    {{ return(['analyze ' ~ relation] if target.type == 'postgres' else []) }}
{% endmacro %}

{#- Writes down what was known when the days were read. On Athena last of all: a build killed before is done again. -#}
{% macro day_record(sources, code, known) %}
    {%- set statements = ["delete from " ~ day_book('day_builds') ~ " where model = '" ~ this.name ~ "'"] -%}
    {%- set builds, replays = [], [] -%}
    {%- for name in sources -%}
        {%- set now = known.state.get(name, [none, none, none, none, none]) -%}
        {%- do builds.append(
            "(" ~ [day_quoted(this.name), day_quoted(name), day_quoted(code), now[2] or 'null', day_quoted(now[3]),
            day_quoted(now[4])] | join(', ') ~ ")"
        ) -%}
    {%- endfor -%}
    {%- for run in known.run.values() -%}
        {%- do replays.append(
            "(" ~ [day_quoted(this.name), day_quoted(run[1]), day_quoted(run[2])] | join(', ') ~ ")"
        ) -%}
    {%- endfor -%}
    {%- if builds -%}
        {%- do statements.append(
            "insert into " ~ day_book('day_builds') ~ " (model, source, code, version, since, final_until) values "
            ~ builds | join(', ')
        ) -%}
    {%- endif -%}
    {%- if replays -%}
        {%- do statements.append(
            "insert into " ~ day_book('day_replays') ~ " (model, run, changed_at) values " ~ replays | join(', ')
        ) -%}
    {%- endif -%}
    {{ return(statements) }}
{% endmacro %}

{#- The same of a model that looks at its code alone. -#}
{% macro record_code(code) %}
    {{ return([
        "delete from " ~ day_book('day_builds') ~ " where model = '" ~ this.name ~ "'",
        "insert into " ~ day_book('day_builds') ~ " (model, source, code) values ('" ~ this.name ~ "', '', '" ~ code
        ~ "')"
    ]) }}
{% endmacro %}

{#- The code that the model was built with last, as a condition on Postgres. -#}
{% macro is_recorded(code) -%}
    exists (
        select 1 from {{ day_book('day_builds') }}
        where model = '{{ this.name }}' and source = '' and code = '{{ code }}'
    )
{%- endmacro %}

{% macro day_quoted(value) %}
    {{ return('null' if value is none else "'" ~ value ~ "'") }}
{% endmacro %}

{#- The tables in which builds by day, and by key, write down what they knew. -#}
{% macro make_day_books() %}
    {% if execute and flags.WHICH in ('build', 'run', 'test') %}{{ adapter.dispatch('make_day_books')() }}{% endif %}
{% endmacro %}

{% macro postgres__make_day_books() %}
    select pg_advisory_xact_lock(hashtextextended('insights.dbt.books', 0));
    create schema if not exists intermediate;
    create table if not exists intermediate.day_builds (
        model text, source text, code text, version integer, since text, final_until text, primary key (model, source)
    );
    create table if not exists intermediate.day_replays (
        model text, run text, changed_at text, primary key (model, run, changed_at)
    );
    create table if not exists intermediate.changed_keys (model text not null, key text);
    comment on table intermediate.day_builds is 'What each model built by day knew of its sources at its last build.';
    comment on table intermediate.day_replays is 'The replays that each model built by day has taken in.';
    comment on table intermediate.changed_keys is 'Whose rows each model built by key has yet to compute; null: all.';
{% endmacro %}

{#- By model: of two that write at once, Iceberg refuses one unless each keeps to a partition of its own. -#}
{% macro athena__make_day_books() %}
    {% do adapter.create_schema(api.Relation.create(database=target.database, schema='intermediate')) %}
    {% for ddl in [
        "day_builds (model string, source string, code string, version int, since string, final_until string)",
        "day_replays (model string, run string, changed_at string)"
    ] %}
        {%- set name = ddl.split(' ')[0] -%}
        {% do run_query(
            "create table if not exists intermediate." ~ ddl ~ " partitioned by (model) location '"
            ~ target.s3_data_dir ~ "books/" ~ name ~ "/' tblproperties ('table_type' = 'iceberg')"
        ) %}
    {% endfor %}
    select 1
{% endmacro %}
