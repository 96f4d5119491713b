"""Signs certificates, and keeps them as a chain (ops.certificates) that `replay/audit.py` checks without a stack.

The private key (Ed25519) is a file in the folder of replays, made with the first certificate. Anyone with the file and
Postgres can write another chain; what was noted of the earlier one, its head, is then missing.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregates.catalogue import aggregate
from replay import run_history
from replay.audit import CHAIN, FIRST, Entry, chain_faults, hash_of, head_faults, newest, summary
from replay.compare import canonical_rows
from replay.plan_file import Stretch
from replay.run import COUNTED
from schemas.errors import Misconfigured
from warehouse.postgres import Connection

LOCK = "select pg_advisory_xact_lock(hashtextextended('insights.certificates', 0))"
COLUMNS = "number, previous, key, body, hash, signature"


def key_file(folder: Path) -> Path:
    """Where the private key is, in the folder of replays."""
    return folder / "certificates.key"


def signing_key(connection: Connection, folder: Path) -> Ed25519PrivateKey:
    """The key to sign the next certificate with: 32 bytes in a file for its owner only, made for the first one.

    Raises Misconfigured when the file can't be read or written, is no key, or is missing though there are certificates.
    """
    if connection.execute("select from ops.certificates limit 1").fetchone() is None:
        make_key(folder)
    return _key(folder)


def make_key(folder: Path) -> bool:
    """Makes a key; False when there is one, which stays. Raises Misconfigured when the file can't be written."""
    file = key_file(folder)
    try:
        if file.exists():
            return False
        _make(file)
    except OSError as error:
        raise Misconfigured(f"{file}, the key that certificates are signed with: {error.strerror or error}") from error
    return True


def public_key(folder: Path) -> str:
    """The public half of the key, hexadecimal. Raises Misconfigured when the key is missing, unreadable or no key."""
    return _key(folder).public_key().public_bytes_raw().hex()


def _key(folder: Path) -> Ed25519PrivateKey:
    file = key_file(folder)
    advice = "restore it from a backup; without one, `insights audit new-key` makes another, and audits name both"
    try:
        return Ed25519PrivateKey.from_private_bytes(file.read_bytes())
    except FileNotFoundError:
        raise Misconfigured(
            f"{file}, the key that certificates are signed with, is missing. The first `insights replay verify` makes"
            f" it. If there was one, {advice}"
        ) from None
    except OSError as error:
        raise Misconfigured(f"{file}, the key that certificates are signed with: {error.strerror or error}") from error
    except ValueError:
        raise Misconfigured(
            f"{file} is not a key for certificates, which is 32 bytes long. Move it away and {advice}"
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


def append(connection: Connection, key: Ed25519PrivateKey, certificate: Mapping[str, Any]) -> Entry:
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
        f"insert into ops.certificates ({COLUMNS}) values (%s, %s, %s, %s, %s, %s)",  # noqa: S608
        tuple(vars(entry).values()),
    )
    return entry


def chain(connection: Connection) -> Iterator[Entry]:
    """Every certificate, the first one first."""
    with connection.cursor() as cursor:
        for row in cursor.stream(f"select {COLUMNS} from ops.certificates order by number"):  # noqa: S608
            yield Entry(**dict(zip(COLUMNS.split(", "), row, strict=True)))


def check(
    connection: Connection,
    folder: Path,
    *,
    keys: Sequence[str] = (),
    heads: Sequence[str] = (),
    unsigned_to: str | None = None,
) -> tuple[list[str], list[str]]:
    """(what there is, what is wrong with it), in words: of the whole chain, and of each run's record against it.

    Only the key in ``folder`` and ``keys`` may have signed. Runs up to ``unsigned_to``, such as r41, may have a
    certificate that was never signed. Raises Misconfigured when no key is known.
    """
    connection.commit()
    connection.execute("set transaction isolation level repeatable read")
    entries, has_key = list(chain(connection)), key_file(folder).exists()
    told, faults = _records(connection, newest(entries), unsigned_to)
    faults = [*(fault for head in heads for fault in head_faults(entries, head)), *faults]
    if not entries:
        if has_key:
            faults.append("there is a key, but no certificate: all were removed, or the first verification was cut off")
        return ["no certificate was signed yet: there is nothing to check", *told], faults
    keys = [*keys, *([public_key(folder)] if has_key or not keys else [])]
    faults = [*chain_faults(entries, keys), *faults]
    return [summary(entries), *told, *(() if faults else ("All of it holds.",))], faults


def _records(
    connection: Connection, signed: Mapping[str, Mapping[str, Any]], unsigned_to: str | None
) -> tuple[list[str], list[str]]:
    """(which runs have no signed certificate and need none, what is wrong with the others), in words."""
    rows = connection.execute("select run, certificate from ops.replays order by created_at, run").fetchall()
    records: dict[str, Mapping[str, Any] | None] = dict(rows)
    missing = [run for run, found in records.items() if found is not None and run not in signed]
    unsigned = [run for run in missing if unsigned_to and _number(run) <= _number(unsigned_to)]
    faults = [f"{run}: the certificate in its record was never signed" for run in missing if run not in unsigned]
    for run, certificate in signed.items():
        if run not in records:
            faults.append(f"{run}: a certificate was signed, and there is no record of the run")
        elif records[run] != certificate:
            faults.append(f"{run}: the certificate in its record is not the newest that was signed")
    told = [f"never signed, as --unsigned-to allows: {', '.join(unsigned)}"] if unsigned else []
    return told, faults


def _number(run: str) -> float:
    """7 of r7; what is no name of a run comes after all."""
    return int(run[1:]) if re.fullmatch(r"r[0-9]{1,18}", run) else math.inf


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

    Yields each file when it is complete; only their owner may read them. Raises Misconfigured when the folder exists or
    can't be written. After an error, the folder is removed.
    """
    with ExitStack() as undo:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            undo.callback(shutil.rmtree, folder)
            entries = list(chain(connection))
            with _new(folder / CHAIN) as file:
                file.writelines(f"{json.dumps(vars(entry))}\n".encode() for entry in entries)
            yield folder / CHAIN
            certified = newest(entries)
            for run, relations in tables.items():
                windows = _windows(certified, run)
                for name, relation in relations.items():
                    yield _write_rows(connection, folder / run / f"{name}.csv", name, relation, windows[name])
        except FileExistsError:
            raise Misconfigured(f"{folder} exists; name a new folder") from None
        except OSError as error:
            raise Misconfigured(f"{folder} can't be written: {error.strerror or error}") from error
        undo.pop_all()


def _new(file: Path) -> BinaryIO:
    """A new file that only its owner may read."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _windows(certified: Mapping[str, Mapping[str, Any]], run: str) -> dict[str, list[Stretch]]:
    if run not in certified:
        raise Misconfigured(f"{run} has no signed certificate: `insights replay verify {run}` makes one")
    found = certified[run]["aggregates"]
    return {one["name"]: [Stretch.model_validate(s) for s in one["windows"]] for one in found}


def _write_rows(connection: Connection, file: Path, name: str, relation: str, windows: list[Stretch]) -> Path:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    with _new(file) as rows, connection.cursor() as cursor:
        for block in canonical_rows(cursor, aggregate(name), relation, windows):
            rows.write(block)
    return file
