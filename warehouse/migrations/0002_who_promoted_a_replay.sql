alter table ops.replays add column if not exists promoted_by text;
