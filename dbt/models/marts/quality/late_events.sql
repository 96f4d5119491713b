{{ config(materialized='view') }}

select
    topic,
    day,
    count(*) as late,
    count(restated_by) as restated,
    count(*) - count(restated_by) as waiting
from {{ ref('stg_late_events') }}
group by
    topic,
    day
