create table ops.privacy_requests (
    number bigint primary key,
    asked_at timestamptz not null,
    answer text not null
);
comment on table ops.privacy_requests is
'What connected shops asked about persons and nobody has answered: `insights privacy requests` as it was last recorded.';
comment on column ops.privacy_requests.answer is 'The command that answers it; it has a pseudonym, and no name.';
