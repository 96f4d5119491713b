{#- The segment of a customer, by recency score and the mean of the two other scores: the usual map of 11 segments. -#}
{% macro rfm_segment(recency, value) -%}
    {%- set segments = {
        5: ['New customers', 'Potential loyalists', 'Loyal customers', 'Champions', 'Champions'],
        4: ['Promising', 'Potential loyalists', 'Loyal customers', 'Champions', 'Champions'],
        3: ['About to sleep', 'About to sleep', 'Need attention', 'Loyal customers', 'Loyal customers'],
        2: ['Hibernating', 'Hibernating', 'At risk', 'At risk', 'At risk'],
        1: ['Lost', 'Hibernating', 'At risk', "Can't lose them", "Can't lose them"],
    } -%}
    case
        {%- for score, names in segments.items() %}{% for name in names %}
        when {{ recency }} = {{ score }} and {{ value }} = {{ loop.index }} then '{{ name | replace("'", "''") }}'
        {%- endfor %}{% endfor %}
    end
{%- endmacro %}
