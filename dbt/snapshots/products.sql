{#-
What was known of each product, and from when to when (SCD 2). A version begins when its shop's page was looked at, not
when dbt ran. Stock and the time of the newest look are no part of it: they change all the time.

A replay that is rolled back may bring an older look to the front again: that version begins just after the one before it.
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

    {%- set there = adapter.get_relation(this.database, this.schema, this.identifier) -%}

    with sales as (
        select
            product_id,
            max(last_sold_at) as last_sold_at
        from {{ ref('int_product_sales') }}
        group by
            product_id
    ),

    known as (
        {% if there %}
        select
            product_id,
            dbt_valid_from + interval '1' second as not_before
        from {{ this }}
        where dbt_valid_to is null
        {% else %}
        select
            product_id,
            last_seen_at as not_before
        from {{ ref('dim_products') }}
        {% endif %}
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
        greatest(
            coalesce(products.last_seen_at, sales.last_sold_at),
            coalesce(known.not_before, products.last_seen_at, sales.last_sold_at)
        ) as known_at
    from {{ ref('dim_products') }} as products
    left join sales
        on products.product_id = sales.product_id
    left join known
        on products.product_id = known.product_id
{% endsnapshot %}
