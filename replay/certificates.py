"""Signs certificates, and keeps them as a chain (ops.certificates) that `replay/audit.py` checks without a stack.

The private key (Ed25519) is a file in the folder of replays, made when it is first needed. Anyone with the file and
Postgres can write another chain; what was noted of the earlier one, its head, is then missing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregates.catalogue import aggregate
from replay import run_history
from replay.audit import CHAIN, FIRST, Entry, hash_of
from replay.compare import canonical_rows
from replay.plan_file import Stretch
from replay.run import COUNTED
from schemas.errors import Misconfigured
from warehouse.postgres import Connection

KEY_FILE = "certificates.key"
LOCK = "select pg_advisory_xact_lock(hashtextextended('insights.certificates', 0))"
COLUMNS = "number, previous, key, body, hash, signature"


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The key that certificates are signed with: 32 bytes in a file for its owner only, made when there is none.

    Raises Misconfigured when the file can't be read or written, or is no key.
    """
    file = folder / KEY_FILE
    try:
        if not file.exists():
            _make(file)
        return Ed25519PrivateKey.from_private_bytes(file.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{file}, the key that certificates are signed with: {error.strerror or error}") from error
    except ValueError:
        raise Misconfigured(
            f"{file} is not a key for certificates, which is 32 bytes long. Restore it from a backup; if there is none,"
            " remove it: another key is made, and audits will name both"
        ) from None


def _make(file: Path) -> None:
    """Atomically: of two processes that make one at the same time, both use the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(Ed25519PrivateKey.generate().private_bytes_raw())
            written.flush()
            os.fsync(written.fileno())
        file.hardlink_to(part)
    except FileExistsError:
        pass
    finally:
        part.unlink()


def public_key(folder: Path) -> str:
    """The public half of ``signing_key``, hexadecimal."""
    return signing_key(folder).public_key().public_bytes_raw().hex()


def append(connection: Connection, key: Ed25519PrivateKey, run: str, certificate: Mapping[str, Any]) -> Entry:
    """Adds a certificate to the chain in the caller's transaction, which must not read from an older snapshot.

    Blocks while another transaction adds one.
    """
    connection.execute(LOCK)
    last = connection.execute("select number, hash from ops.certificates order by number desc limit 1").fetchone()
    number, previous = (last[0] + 1, last[1]) if last else (1, FIRST)
    body = json.dumps(certificate, sort_keys=True, separators=(",", ":"))
    public = key.public_key().public_bytes_raw().hex()
    digest = hash_of(number, previous, public, body)
    signature = key.sign(bytes.fromhex(digest)).hex()
    entry = Entry(number=number, previous=previous, key=public, body=body, hash=digest, signature=signature)
    connection.execute(
        f"insert into ops.certificates (run, {COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
        (run, *vars(entry).values()),
    )
    return entry


def chain(connection: Connection) -> Iterator[Entry]:
    """Every certificate, the first one first."""
    with connection.cursor() as cursor:
        for row in cursor.stream(f"select {COLUMNS} from ops.certificates order by number"):  # noqa: S608
            yield Entry(**dict(zip(COLUMNS.split(", "), row, strict=True)))


def record_faults(connection: Connection) -> Iterator[str]:
    """Runs whose record says something else than the newest certificate in the chain, or has one that is not in it.

    Runs that were verified before certificates were signed have none in it: the chain begins after them.
    """
    rows = connection.execute(
        "select r.run, s.body is null from ops.replays as r left join lateral (select c.body from ops.certificates as c"
        " where c.run = r.run order by c.number desc limit 1) as s on true where r.certificate is not null"
        " and r.verified_at >= (select min(signed_at) from ops.certificates)"
        " and s.body::jsonb is distinct from r.certificate order by r.created_at"
    )
    for run, is_missing in rows.fetchall():
        what = "is not in the chain" if is_missing else "is not the one that was signed"
        yield f"{run}: the certificate in its record {what}"


def tables(connection: Connection, run: str, *, live: bool) -> dict[str, str]:
    """By aggregate, the relation with the rows that a run computed; with ``live``, the one that readers see.

    Raises Misconfigured when there is no such run, or when its rows were removed.
    """
    record = run_history.find(connection, run)
    if live:
        return {planned.name: planned.table for planned in record.plan.aggregates}
    found = {name: run_history.staging(run, name, COUNTED) for name in record.aggregates}
    for relation in found.values():
        if connection.execute("select to_regclass(%s)", (relation,)).fetchone() == (None,):
            raise Misconfigured(
                f"the rows of {run} were removed, for it is {record.status}; only its certificate is kept. --live"
                " exports the same windows of what readers see"
            )
    return found


def export(connection: Connection, folder: Path, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Path]:
    """Writes the chain, and of each run in ``tables`` the rows of its tables ({aggregate: relation}) as certified.

    Yields each file when it is complete. Raises Misconfigured when the folder exists or can't be written.
    """
    try:
        folder.mkdir(parents=True)
        with (folder / CHAIN).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(vars(entry)) + "\n" for entry in chain(connection))
        yield folder / CHAIN
        for run, relations in tables.items():
            certified = _certified(connection, run)
            for name, relation in relations.items():
                yield _write_rows(connection, folder / run / f"{name}.csv", name, relation, certified[name])
    except FileExistsError:
        raise Misconfigured(f"{folder} exists; name a new folder") from None
    except OSError as error:
        raise Misconfigured(f"{folder} can't be written: {error.strerror or error}") from error


def _certified(connection: Connection, run: str) -> dict[str, list[Stretch]]:
    row = connection.execute(
        "select body from ops.certificates where run = %s order by number desc limit 1", (run,)
    ).fetchone()
    if row is None:
        raise Misconfigured(f"{run} has no signed certificate: `insights replay verify {run}` makes one")
    found = json.loads(row[0])["aggregates"]
    return {one["name"]: [Stretch.model_validate(s) for s in one["windows"]] for one in found}


def _write_rows(connection: Connection, file: Path, name: str, relation: str, windows: list[Stretch]) -> Path:
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as rows, connection.cursor() as cursor:
        for block in canonical_rows(cursor, aggregate(name), relation, windows):
            rows.write(block)
    return file
