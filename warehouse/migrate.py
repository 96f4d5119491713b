"""Brings the tables of an existing stack to the schema of this release.

A migration is a file ``warehouse/migrations/NNNN_what_changes.sql``, applied once, in order of number. Migrations alone
define the tables of replays, alerts and the marts' builds. The tables in ``warehouse/sinks.py`` are created from there;
a migration changes an existing one. A released migration is never edited: the next one fixes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Misconfigured
from warehouse.postgres import Connection

FOLDER = Path(__file__).parent / "migrations"
NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
DDL = """
select pg_advisory_xact_lock(hashtextextended('insights.migrations', 0));
create schema if not exists ops;
create table if not exists ops.migrations (
    number int primary key,
    name text not null,
    applied_at timestamptz not null default now()
);
comment on table ops.migrations is 'Which migrations of warehouse/migrations/ this database has seen, and when.';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: its number, what it changes, and the statements."""

    number: int
    name: str
    sql: str


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All of them, in order. Raises Misconfigured naming the first file that isn't the next ``NNNN_name.sql``."""
    found: list[Migration] = []
    for path in sorted(folder.iterdir()):
        match = NAME.fullmatch(path.name)
        if match is None or int(match[1]) != len(found) + 1:
            wanted = f"{len(found) + 1:04}_what_it_changes.sql"
            raise Misconfigured(f"{path} should be named {wanted}: migrations are numbered without gaps")
        found.append(Migration(number=int(match[1]), name=match[2], sql=path.read_text()))
    return found


def migrate(connection: Connection, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Applies what is missing, in the caller's transaction, and returns it.

    Raises Misconfigured, and changes nothing, when a newer release has migrated the database.
    """
    known = migrations() if known is None else known
    connection.execute(DDL)
    rows = connection.execute("select number, name from ops.migrations order by number").fetchall()
    done: dict[int, str] = dict(rows)
    newer = [f"{number:04}_{name}" for number, name in done.items() if number > len(known)]
    if newer:
        raise Misconfigured(
            f"a newer release of Insights Hub has changed these tables ({', '.join(newer)}): run that release, or a"
            " newer one, on this data"
        )
    missing = [migration for migration in known if migration.number not in done]
    for migration in missing:
        connection.execute(migration.sql.encode())
        connection.execute(
            "insert into ops.migrations (number, name) values (%s, %s)", (migration.number, migration.name)
        )
    return missing
