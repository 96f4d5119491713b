-- Replays, alerts and the marts' builds. A data folder from before migrations were numbered has them already.
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
comment on table ops.replays is 'Every replay: its plan, status and certificate, and who requested it.';
create table if not exists ops.alerts (
    rule text not null,
    fingerprint text not null,
    label text not null,
    title text not null,
    severity text not null,
    state text not null,
    since timestamptz not null,
    last_seen timestamptz not null,
    notified_at timestamptz,
    last_sent timestamptz,
    recovered_at timestamptz,
    detail text not null,
    primary key (rule, fingerprint)
);
comment on table ops.alerts is 'What the alert rules found: pending, firing, or recovered in the last 30 days.';
comment on column ops.alerts.fingerprint is 'Hash of rule and label.';
comment on column ops.alerts.since is 'When it was first there.';
comment on column ops.alerts.last_seen is 'When it was last there.';
comment on column ops.alerts.notified_at is 'When it was last told, or would have been if there was a channel.';
comment on column ops.alerts.last_sent is 'When a channel last took a message about it.';
create table if not exists ops.alert_rules (
    rule text primary key,
    checked_at timestamptz not null,
    outcome text not null,
    detail text not null
);
comment on table ops.alert_rules is 'The newest check of each alert rule: quiet, finds, not known, or broken.';
create table if not exists ops.alert_messages (
    id text not null,
    channel text not null,
    rule text not null,
    kind text not null,
    fingerprints text[] not null,
    message jsonb not null,
    created_at timestamptz not null,
    attempts int not null default 0,
    next_at timestamptz not null,
    sent_at timestamptz,
    given_up_at timestamptz,
    problem text,
    primary key (id, channel)
);
comment on table ops.alert_messages is 'What is to be sent, and was, by channel; kept for 30 days.';
create index if not exists alert_messages_waiting on ops.alert_messages (next_at)
where sent_at is null and given_up_at is null;
create table if not exists ops.dbt_builds (
    invocation text primary key,
    started_at timestamptz not null,
    ended_at timestamptz,
    outcome text,
    models bigint,
    tests bigint,
    failures bigint,
    selection text,
    message text
);
create table if not exists ops.dbt_models (
    relation text primary key,
    kind text not null,
    description text not null,
    built_at timestamptz not null,
    seconds double precision not null,
    status text not null,
    upstream text[] not null
);
comment on table ops.dbt_builds is 'Builds of the marts: ok, failed tests, or failed; null while one goes on.';
comment on table ops.dbt_models is 'Models of the marts: when each was built last, how it went, its sources.';
