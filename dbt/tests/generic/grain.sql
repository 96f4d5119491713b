{#-
A row for each combination of these columns, and none of them null. `newest_days: [day, 7]` looks at the rows of the
newest seven days in the column `day` alone, unless everything is built anew: for what is large.
-#}
{% test grain(model, columns, newest_days=none) %}
    select
        {{ columns | join(',\n        ') }},
        count(*) as found
    from {{ model }}
    {% if newest_days and not flags.FULL_REFRESH %}
    {%- set newest = '(select max(' ~ newest_days[0] ~ ') from ' ~ model ~ ' as every_row)' %}
    where {{ newest_days[0] }} > {{ days_after(newest, -newest_days[1]) }}
    {% endif %}
    group by
        {{ columns | join(',\n        ') }}
    having
        count(*) > 1
        {% for column in columns %}or {{ column }} is null
        {% endfor %}
{% endtest %}
