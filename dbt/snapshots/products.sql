{#-
What was known of each product, and from when to when (SCD 2). A version begins when its shop's page was looked at, not
when dbt ran. Stock and the time of the newest look are no part of it: they change all the time.
-#}
{% snapshot products %}
    {{
        config(
            unique_key='product_id',
            strategy='check',
            check_cols=[
                'shop', 'sku', 'name', 'brand', 'category', 'price', 'list_price', 'currency', 'availability', 'url'
            ],
            updated_at='known_at'
        )
    }}

    with sales as (
        select
            product_id,
            max(last_sold_at) as last_sold_at
        from {{ ref('int_product_sales') }}
        group by
            product_id
    )

    select
        products.product_id,
        products.shop,
        products.sku,
        products.name,
        products.brand,
        products.category,
        products.price,
        products.list_price,
        products.currency,
        products.availability,
        products.url,
        coalesce(products.last_seen_at, sales.last_sold_at) as known_at
    from {{ ref('dim_products') }} as products
    left join sales
        on products.product_id = sales.product_id
{% endsnapshot %}
