{#-
A row for each combination of these columns, and none of them null but those that are `nullable`: two nulls are the
same. `newest_days: [day, 7]` looks at the rows of the newest seven days in the column `day` alone, unless everything is
built anew: for what is large.
-#}
{% test grain(model, columns, newest_days=none, nullable=[]) %}
    {%- set is_cut = newest_days and not flags.FULL_REFRESH -%}
    {% if is_cut %}
    with newest as (
        select max({{ newest_days[0] }}) as newest_day
        from {{ model }}
    )

    {% endif %}
    select
        {{ columns | join(',\n        ') }},
        count(*) as found
    from {{ model }}
    {% if is_cut %}
    cross join newest
    where {{ newest_days[0] }} > {{ days_after('newest_day', -newest_days[1]) }}
    {% endif %}
    group by
        {{ columns | join(',\n        ') }}
    having
        count(*) > 1
        {% for column in columns if column not in nullable %}or {{ column }} is null
        {% endfor %}
{% endtest %}
