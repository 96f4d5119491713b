{#- A row for each combination of these columns, and none of them null. -#}
{% test grain(model, columns) %}
    select
        {{ columns | join(',\n        ') }},
        count(*) as found
    from {{ model }}
    group by
        {{ columns | join(',\n        ') }}
    having
        count(*) > 1
        {% for column in columns %}or {{ column }} is null
        {% endfor %}
{% endtest %}
