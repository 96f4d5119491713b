with parts as (
    select
        order_day as day,
        region,
        0 as orders,
        gross_amount,
        discount_amount,
        {{ money('0') }} as returned_amount,
        {{ money('0') }} as shipping_amount,
        {{ money('0') }} as tax_amount,
        {{ money('0') }} as duties_amount,
        {{ money('0') }} as tip_amount
    from {{ ref('int_sales_by_day') }}
    where level = 'region'
    union all
    select
        order_day as day,
        region,
        orders,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        {{ money('0') }} as returned_amount,
        shipping_amount,
        tax_amount,
        duties_amount,
        tip_amount
    from {{ ref('int_charges_by_day') }}
    union all
    select
        refund_day as day,
        region,
        0 as orders,
        {{ money('0') }} as gross_amount,
        {{ money('0') }} as discount_amount,
        returned_amount,
        -shipping_amount as shipping_amount,
        -tax_amount as tax_amount,
        {{ money('0') }} as duties_amount,
        {{ money('0') }} as tip_amount
    from {{ ref('stg_refunds') }}
)

select
    day,
    region,
    {{ from_gross_to_total() }}
from parts
group by
    day,
    region
