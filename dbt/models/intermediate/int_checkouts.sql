{{ config(
    materialized='by_day',
    day='session_day',
    reach={'interactions': [1, 0]},
    indexes=[{'columns': ['session_day']}],
    feeds={'int_category_checkouts': 'session_day'}
) }}

with sessions as (
    select
        session_day,
        region,
        session_id,
        purchases = 0 as is_abandoned
    from {{ ref('stg_sessions') }}
    where
        checkouts > 0
        and {{ touched('window_start') }}
),

carts as (
    select distinct
        session_id,
        product_id
    from {{ ref('stg_interactions') }}
    where
        interaction = 'add_to_cart'
        and product_id is not null
        and occurred_at < session_started_at + interval '24' hour
        and {{ touched('occurred_at', after=1) }}
)

select
    sessions.session_day,
    sessions.region,
    sessions.session_id,
    sessions.is_abandoned,
    carts.product_id
from sessions
left join carts on sessions.session_id = carts.session_id
