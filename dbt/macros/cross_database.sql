{#-
What Postgres and Athena (Trino) say differently, each once. Models use these and else only what both take:
filter (where ...), grouping sets, row_number(), coalesce, interval '30' day, extract(... from ...).
-#}

{#- The day (UTC) of a time. Athena's have no zone and are in UTC: it makes no table with one that has. -#}
{% macro utc_day(moment) -%}
    {{ adapter.dispatch('utc_day')(moment) }}
{%- endmacro %}

{% macro postgres__utc_day(moment) -%}
    cast({{ moment }} at time zone 'UTC' as date)
{%- endmacro %}

{% macro athena__utc_day(moment) -%}
    cast({{ moment }} as date)
{%- endmacro %}

{#-
The day of a time by the clock of all shops together, or of the shop that a column names. On Postgres by ops.shop_time,
which the stack makes of the definitions' own time zones; Athena is told their names, and knows the zones by itself.
-#}
{% macro shop_day(moment, shop=none) -%}
    {{ adapter.dispatch('shop_day')(moment, shop) }}
{%- endmacro %}

{% macro postgres__shop_day(moment, shop) -%}
    cast(ops.shop_time({{ moment }}{{ ', ' ~ shop if shop }}) as date)
{%- endmacro %}

{% macro athena__shop_day(moment, shop) -%}
    {%- if shop and shop_zones() -%}
    case {{ shop }}
        {% for name, zone in shop_zones().items() -%}
        when '{{ name }}' then {{ day_in(moment, zone) }}
        {% endfor -%}
        else {{ day_in(moment, shop_zone()) }}
    end
    {%- else -%}
    {{ day_in(moment, shop_zone()) }}
    {%- endif -%}
{%- endmacro %}

{#- On Athena, the day of a time in a time zone. -#}
{% macro day_in(moment, zone) -%}
    {%- if zone == 'UTC' -%}
    cast({{ moment }} as date)
    {%- else -%}
    cast(at_timezone(with_timezone({{ moment }}, 'UTC'), '{{ zone }}') as date)
    {%- endif -%}
{%- endmacro %}

{#- The time zone of all shops together, by its IANA name. -#}
{% macro shop_zone() %}
    {{ return(env_var('INSIGHTS_DBT_TIME_ZONE', 'UTC')) }}
{% endmacro %}

{#- The time zones of shops that have their own, by the shop's name; as text, bikes=Europe/Berlin cars=Asia/Tokyo. -#}
{% macro shop_zones() %}
    {%- set found = {} -%}
    {%- for each in env_var('INSIGHTS_DBT_SHOP_ZONES', '').split() -%}
        {%- do found.update({each.split('=')[0]: each.split('=')[1]}) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- The first of the month of a day. -#}
{% macro month_of(day) -%}
    cast(date_trunc('month', {{ day }}) as date)
{%- endmacro %}

{#- How many days from one day to another. -#}
{% macro days_between(first, last) -%}
    {{ adapter.dispatch('days_between')(first, last) }}
{%- endmacro %}

{% macro postgres__days_between(first, last) -%}
    cast({{ last }} - {{ first }} as bigint)
{%- endmacro %}

{% macro athena__days_between(first, last) -%}
    date_diff('day', {{ first }}, {{ last }})
{%- endmacro %}

{#- A day so many days after another (before it, with a negative number). -#}
{% macro days_after(day, number) -%}
    {{ adapter.dispatch('days_after')(day, number) }}
{%- endmacro %}

{% macro postgres__days_after(day, number) -%}
    ({{ day }} + cast({{ number }} as integer))
{%- endmacro %}

{% macro athena__days_after(day, number) -%}
    date_add('day', {{ number }}, {{ day }})
{%- endmacro %}

{#- How many months from the month of one day to the month of another. -#}
{% macro months_between(first, last) -%}
    cast(
        12 * (extract(year from {{ last }}) - extract(year from {{ first }}))
        + extract(month from {{ last }}) - extract(month from {{ first }}) as bigint
    )
{%- endmacro %}

{#- Whole seconds from one time to another; parts of a second are dropped. -#}
{% macro seconds_between(first, last) -%}
    {{ adapter.dispatch('seconds_between')(first, last) }}
{%- endmacro %}

{% macro postgres__seconds_between(first, last) -%}
    cast(floor(extract(epoch from {{ last }} - {{ first }})) as bigint)
{%- endmacro %}

{% macro athena__seconds_between(first, last) -%}
    date_diff('second', {{ first }}, {{ last }})
{%- endmacro %}

{#- An amount of money: exact, two digits, a half rounded away from zero. -#}
{% macro money(amount) -%}
    {{ adapter.dispatch('money')(amount) }}
{%- endmacro %}

{% macro postgres__money(amount) -%}
    cast({{ amount }} as numeric(38, 2))
{%- endmacro %}

{% macro athena__money(amount) -%}
    cast({{ amount }} as decimal(38, 2))
{%- endmacro %}

{#- A sum of money: 0.00 over nothing. -#}
{% macro total_money(amount) -%}
    {{ money('coalesce(sum(' ~ amount ~ '), 0)') }}
{%- endmacro %}

{#- A sum of whole numbers, as bigint: 0 over nothing. -#}
{% macro total_count(number) -%}
    cast(coalesce(sum({{ number }}), 0) as bigint)
{%- endmacro %}

{#- One number divided by another, rounded to so many digits, a half away from zero; null over 0 and over null. -#}
{% macro ratio(numerator, denominator, digits=6) -%}
    {{ adapter.dispatch('ratio')(numerator, denominator, digits) }}
{%- endmacro %}

{% macro postgres__ratio(numerator, denominator, digits) -%}
    cast(
        round(cast({{ numerator }} as numeric) / nullif({{ denominator }}, 0), {{ digits }}) as numeric(38, {{ digits }})
    )
{%- endmacro %}

{% macro athena__ratio(numerator, denominator, digits) -%}
    cast(
        round(
            cast({{ numerator }} as decimal(38, 18)) / nullif({{ denominator }}, 0), {{ digits }}
        ) as decimal(38, {{ digits }})
    )
{%- endmacro %}

{#- A text, so that texts compare by code point whatever the database's locale. Where a text breaks a tie. -#}
{% macro by_code_point(text) -%}
    {{ adapter.dispatch('by_code_point')(text) }}
{%- endmacro %}

{% macro postgres__by_code_point(text) -%}
    ({{ text }} collate "C")
{%- endmacro %}

{% macro athena__by_code_point(text) -%}
    {{ text }}
{%- endmacro %}

{#- A value as text. -#}
{% macro as_text(value) -%}
    {{ adapter.dispatch('as_text')(value) }}
{%- endmacro %}

{% macro postgres__as_text(value) -%}
    cast({{ value }} as text)
{%- endmacro %}

{% macro athena__as_text(value) -%}
    cast({{ value }} as varchar)
{%- endmacro %}

{#- A table of the whole numbers from 0 to 999, in its column n. -#}
{% macro whole_numbers() -%}
    (
        with digits as (
            {% for digit in range(10) -%}
            select {{ digit }} as digit{{ ' union all' if not loop.last }}
            {% endfor -%}
        )

        select cast(100 * hundreds.digit + 10 * tens.digit + ones.digit as bigint) as n
        from digits as hundreds
        cross join digits as tens
        cross join digits as ones
    )
{%- endmacro %}

{#-
What a row of grouping sets over a region and a category adds up: the one, the other, both or `all` of them. A column
of its own, as any text may be a region or a category.
-#}
{% macro level_of(region, category=none) -%}
    case
        {%- if category %}
        when grouping({{ region }}) = 1 and grouping({{ category }}) = 1 then 'all'
        when grouping({{ category }}) = 1 then 'region'
        {%- endif %}
        when grouping({{ region }}) = 1 then 'category'
        else 'region_and_category'
    end
{%- endmacro %}

{#- Whether a version of something, by its valid_from and valid_until, holds at a time. -#}
{% macro holds_at(version, moment) -%}
    {{ moment }} >= {{ version }}.valid_from
            and ({{ version }}.valid_until is null or {{ moment }} < {{ version }}.valid_until)
{%- endmacro %}
