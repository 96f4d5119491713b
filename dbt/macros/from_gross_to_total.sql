{#- The lines from gross to total sales, as columns: sums over parts that have these amounts, each with its sign. -#}
{% macro from_gross_to_total() -%}
    {{ total_count('orders') }} as orders,
    {{ total_money('gross_amount') }} as gross_amount,
    {{ total_money('discount_amount') }} as discount_amount,
    {{ total_money('returned_amount') }} as returned_amount,
    {{ total_money('gross_amount - discount_amount - returned_amount') }} as net_of_returns_amount,
    {{ total_money('shipping_amount') }} as shipping_amount,
    {{ total_money('tax_amount') }} as tax_amount,
    {{ total_money('duties_amount') }} as duties_amount,
    {{ total_money(
        'gross_amount - discount_amount - returned_amount + shipping_amount + tax_amount + duties_amount'
    ) }} as total_amount,
    {{ total_money('tip_amount') }} as tip_amount
{%- endmacro %}
