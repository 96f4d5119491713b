with steps as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        coalesce(campaign, '(none)') as campaign,
        session_id,
        case when interaction = 'product_view' then session_id end as product_view_session,
        case when interaction = 'add_to_cart' then session_id end as cart_session,
        case when interaction = 'checkout' then session_id end as checkout_session,
        case when interaction = 'purchase' then session_id end as purchase_session
    from interaction
)

select
    window_start,
    campaign,
    count(distinct session_id) as sessions,
    count(distinct product_view_session) as product_view_sessions,
    count(distinct cart_session) as cart_sessions,
    count(distinct checkout_session) as checkout_sessions,
    count(distinct purchase_session) as purchase_sessions
from steps
group by
    window_start,
    campaign
