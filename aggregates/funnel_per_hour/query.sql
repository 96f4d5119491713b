with interactions as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        campaign is not null as has_campaign,
        coalesce(campaign, '') as campaign,
        session_id,
        interaction
    from interaction
)

select
    window_start,
    has_campaign,
    campaign,
    count(distinct session_id) as sessions,
    count(distinct session_id) filter (where interaction = 'product_view') as product_view_sessions,
    count(distinct session_id) filter (where interaction = 'add_to_cart') as cart_sessions,
    count(distinct session_id) filter (where interaction = 'checkout') as checkout_sessions,
    count(distinct session_id) filter (where interaction = 'purchase') as purchase_sessions
from interactions
group by
    window_start,
    has_campaign,
    campaign
