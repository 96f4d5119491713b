with steps as (
    select
        {{ window_start('day', 'session_started_at') }} as window_start,
        session_id,
        user_id,
        region,
        campaign,
        session_started_at,
        occurred_at,
        case when interaction = 'page_view' then 1 else 0 end as page_views,
        case when interaction = 'product_view' then 1 else 0 end as product_views,
        case when interaction = 'add_to_cart' then 1 else 0 end as carts,
        case when interaction = 'checkout' then 1 else 0 end as checkouts,
        case when interaction = 'purchase' then 1 else 0 end as purchases
    from interaction
    where occurred_at < session_started_at + interval '24' hour
)

select
    window_start,
    session_id,
    max(user_id) as user_id,
    min(region) as region,
    min(campaign) as campaign,
    min(session_started_at) as started_at,
    max(occurred_at) as ended_at,
    {{ total('page_views') }} as page_views,
    {{ total('product_views') }} as product_views,
    {{ total('carts') }} as carts,
    {{ total('checkouts') }} as checkouts,
    {{ total('purchases') }} as purchases
from steps
group by
    window_start,
    session_id
