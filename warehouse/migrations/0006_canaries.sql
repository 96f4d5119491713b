create table ops.canaries (
    canary_at timestamptz primary key,
    published_at timestamptz not null,
    in_table_at timestamptz,
    in_mart_at timestamptz,
    wrong text
);
comment on table ops.canaries is
'Canaries of the last day: events that the stack publishes each minute, and whose row is known beforehand.';
comment on column ops.canaries.canary_at is 'The canary''s minute.';
comment on column ops.canaries.published_at is 'When it was published.';
comment on column ops.canaries.in_table_at is
'When its row was first seen in live.canary_per_minute; null while it is not there, or not right.';
comment on column ops.canaries.in_mart_at is 'The same of marts.canary.';
comment on column ops.canaries.wrong is 'How its row differs from what was published; null if it does not.';
