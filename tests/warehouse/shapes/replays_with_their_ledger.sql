-- The state tables as `insights up` made them at first, before migrations were numbered.
create schema if not exists ops;
create schema if not exists replay;
create sequence if not exists ops.replay_number;
create table if not exists ops.replays (
    run text primary key,
    status text not null,
    scope text not null,
    aggregates text[] not null,
    engine text not null,
    plan jsonb not null,
    plan_digest text not null,
    certificate jsonb,
    requested_by text not null,
    reason text,
    error text,
    records bigint not null,
    rows_computed bigint,
    created_at timestamptz not null default now(),
    computed_at timestamptz,
    verified_at timestamptz,
    promoted_at timestamptz,
    rolled_back_at timestamptz,
    compute_seconds double precision not null default 0,
    verify_seconds double precision,
    promote_seconds double precision,
    changes jsonb
);
comment on table ops.replays is 'Every replay: its plan, how far it came, its certificate, and who asked.';
create table if not exists ops.restated_events (
    topic text not null,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    run text not null,
    primary key (topic, kafka_partition, kafka_offset)
);
comment on table ops.restated_events is 'Late events that count since the replay that is named with them.';
