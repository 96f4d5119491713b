with sized as (
    select
        {{ window_start('minute', 'occurred_at') }} as window_start,
        wiki,
        is_bot,
        is_minor,
        page_id,
        user_name,
        coalesce(cast(new_length as bigint) - coalesce(cast(old_length as bigint), 0), 0) as growth
    from wiki_edited
)

select
    window_start,
    wiki,
    is_bot,
    count(*) as edits,
    count(*) filter (where is_minor) as minor_edits,
    count(distinct page_id) as pages,
    count(distinct user_name) as users,
    {{ total('case when growth > 0 then growth else 0 end') }} as bytes_added,
    {{ total('case when growth < 0 then -growth else 0 end') }} as bytes_removed
from sized
group by
    window_start,
    wiki,
    is_bot
