with steps as (
    select
        {{ window_start('hour', 'occurred_at') }} as window_start,
        coalesce(campaign, '(none)') as campaign,
        session_id,
        max(case when interaction = 'product_view' then 1 else 0 end) as viewed,
        max(case when interaction = 'add_to_cart' then 1 else 0 end) as carted,
        max(case when interaction = 'checkout' then 1 else 0 end) as checked_out,
        max(case when interaction = 'purchase' then 1 else 0 end) as purchased
    from interaction
    group by
        {{ window_start('hour', 'occurred_at') }},
        coalesce(campaign, '(none)'),
        session_id
)

select
    window_start,
    campaign,
    count(*) as sessions,
    {{ total('viewed') }} as product_view_sessions,
    {{ total('carted') }} as cart_sessions,
    {{ total('checked_out') }} as checkout_sessions,
    {{ total('purchased') }} as purchase_sessions
from steps
group by
    window_start,
    campaign
