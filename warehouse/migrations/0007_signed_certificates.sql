create table ops.certificates (
    number bigint primary key,
    run text not null,
    signed_at timestamptz not null default now(),
    previous text not null,
    key text not null,
    body text not null,
    hash text not null,
    signature text not null
);
comment on table ops.certificates is
'Every certificate of a replay, signed, each with the hash of the one before: rows are added and never changed.';
comment on column ops.certificates.previous is 'The hash of the certificate before it; 64 zeros for the first.';
comment on column ops.certificates.key is 'The public key (Ed25519) that belongs to the signature.';
comment on column ops.certificates.body is 'The certificate, as JSON with sorted keys.';
comment on column ops.certificates.hash is
'SHA-256 of number, previous, key and body, each on a line of its own: what is signed.';
