with ledger as (
    select
        late.topic,
        {{ utc_day('late.occurred_at') }} as day,
        restated.run
    from {{ source('ops', 'late_events') }} as late
    left join {{ source('ops', 'restated_events') }} as restated
        on
            late.topic = restated.topic
            and late.kafka_partition = restated.kafka_partition
            and late.kafka_offset = restated.kafka_offset
)

select
    topic,
    day,
    run as restated_by
from ledger
