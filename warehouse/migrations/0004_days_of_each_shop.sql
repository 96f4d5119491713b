comment on column ops.agreement_runs.since is
'Orders placed since this day of the shop''s own time zone were compared; null: none.';
comment on table ops.agreement_days is
'Each shop''s days, in its own time zone, by the newest comparison: the shop''s total of a measure, and the tables'' total.';
