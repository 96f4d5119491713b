{#- The condition holds in each row; a null is as good as false. -#}
{% test holds(model, condition) %}
    select *
    from {{ model }}
    where not coalesce(({{ condition }}), false)
{% endtest %}
