create table ops.connected_shops (
    shop text primary key,
    url text not null,
    noticed_at timestamptz not null default now()
);
comment on table ops.connected_shops is 'The shops that are connected now, and since when that is known here.';
create table ops.agreement_runs (
    shop text not null,
    compared_at timestamptz not null,
    since date,
    orders bigint,
    different bigint,
    pending bigint,
    unread bigint,
    result text not null,
    error text,
    primary key (shop, compared_at)
);
comment on table ops.agreement_runs is
'Comparisons of connected shops with the tables: equal, pending, different, or failed with an error; kept for 90 days.';
comment on column ops.agreement_runs.since is 'Orders placed since this day (UTC) were compared; null: none.';
create table ops.agreement_days (
    shop text not null,
    day date not null,
    measure text not null,
    in_shop numeric not null,
    here numeric not null,
    primary key (shop, day, measure)
);
comment on table ops.agreement_days is
'Each shop''s days (UTC) by the newest comparison: the shop''s total of a measure, and that of the tables.';
create table ops.agreement_orders (
    shop text not null,
    order_id text not null,
    state text not null,
    differs text not null,
    day date,
    in_shop jsonb,
    here jsonb,
    known text not null,
    primary key (shop, order_id)
);
comment on table ops.agreement_orders is
'The orders that differed in each shop''s newest comparison: different, pending or unread, both sides, what is known.';
comment on column ops.agreement_orders.order_id is 'As the shop has it.';
