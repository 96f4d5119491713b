{{ config(
    materialized='by_key' if target.type == 'postgres' else 'table',
    key='day',
    key_type='date',
    onwards=true,
    watches={
        'price_history': ['shop', 'product_id', 'currency', 'price', 'valid_from'],
        'dim_products': ['product_id', 'shop', 'price_currency', 'name', 'category']
    },
    indexes=[{'columns': ['day']}]
) }}

with changes as (
    select
        history.product_id,
        {{ shop_day('history.valid_from') }} as day,
        history.price,
        history.previous_price,
        row_number() over (
            partition by history.product_id, {{ shop_day('history.valid_from') }}
            order by history.valid_from desc
        ) as nth_from_last
    from {{ ref('price_history') }} as history
    inner join {{ ref('dim_products') }} as products
        on
            history.product_id = products.product_id
            and history.shop = products.shop
            and history.currency = products.price_currency
),

prices as (
    select
        day,
        product_id,
        max(case when nth_from_last = 1 then price end) as price,
        count(previous_price) as price_changes
    from changes
    group by
        day,
        product_id
),

prices_since as (
    select
        day,
        product_id,
        price,
        price_changes
    from prices
    where {{ changed('day') }}
),

sales_since as (
    select
        day,
        product_id,
        units,
        gross_amount,
        sales_amount
    from {{ ref('int_product_sales') }}
    where {{ changed('day') }}
),

prices_before as (
    select
        product_id,
        price,
        row_number() over (partition by product_id order by day desc) as nth_from_last
    from prices
    where not {{ changed('day') }}
),

before as (
    select
        product_id,
        price
    from prices_before
    where nth_from_last = 1
),

days as (
    select
        coalesce(prices.day, sales.day) as day,
        coalesce(prices.product_id, sales.product_id) as product_id,
        prices.price,
        coalesce(prices.price_changes, 0) as price_changes,
        coalesce(sales.units, 0) as units,
        {{ ratio('sales.gross_amount', 'sales.units', 2) }} as charged_price,
        {{ ratio('sales.sales_amount', 'sales.units', 2) }} as paid_price
    from prices_since as prices
    full outer join sales_since as sales
        on
            prices.day = sales.day
            and prices.product_id = sales.product_id
),

-- A price holds until the next one: the days from one to the next have its number.
numbered as (
    select
        day,
        product_id,
        price,
        price_changes,
        units,
        charged_price,
        paid_price,
        count(price) over (partition by product_id order by day) as price_number
    from days
),

filled as (
    select
        numbered.day,
        numbered.product_id,
        before.price as price_before,
        coalesce(
            max(numbered.price) over (partition by numbered.product_id, numbered.price_number), before.price
        ) as scraped_price,
        numbered.price_changes,
        numbered.units,
        numbered.charged_price,
        numbered.paid_price
    from numbered
    left join before on numbered.product_id = before.product_id
),

compared as (
    select
        day,
        product_id,
        scraped_price,
        coalesce(lag(scraped_price) over (partition by product_id order by day), price_before) as scraped_price_before,
        price_changes,
        units,
        charged_price,
        paid_price
    from filled
)

select
    compared.day,
    compared.product_id,
    products.name,
    products.category,
    {{ money('compared.scraped_price') }} as scraped_price,
    {{ money('compared.charged_price') }} as charged_price,
    {{ money('compared.paid_price') }} as paid_price,
    compared.units,
    compared.price_changes,
    {{ ratio('compared.scraped_price - compared.scraped_price_before', 'compared.scraped_price_before') }} as price_move,
    {{ money('compared.charged_price - compared.scraped_price') }} as price_gap
from compared
left join {{ ref('dim_products') }} as products
    on compared.product_id = products.product_id
where
    compared.units > 0
    or compared.price_changes > 0
