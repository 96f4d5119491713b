{#-
What was known of each product, and from when to when (SCD 2). A version begins with the build that first saw it, and not
with the look: a replay may add looks of long ago and take them back, and what was known until then stays known.
Stock and the time of the newest look make no version: they change all the time.
-#}
{% snapshot products %}
    {{
        config(
            unique_key='product_id',
            strategy='check',
            check_cols=[
                'shop', 'sku', 'name', 'brand', 'category', 'price', 'list_price', 'currency', 'availability', 'url'
            ]
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
