"""Maintenance of the lake, table by table: compacts small files, removes old snapshots and orphan files.

A kill at any point leaves correct tables, and the next run completes the work. A second run changes nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import psycopg
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from schemas.errors import Retryable
from warehouse import compaction, retention
from warehouse.deployment import Deployment
from warehouse.glue import glue_answers
from warehouse.tables import open_lake

# For this long a reader may use a snapshot that it has not pinned.
KEEP_HOURS = 3.0
# A manual write may have begun long before its commit: Iceberg's own rule.
LEAST_STRAY_HOURS = 72
# Where the lake has tables, and publish makes some.
IN_GLUE = ("events", "live", "ops")


class MaintenanceRuns(Retryable):
    """Somebody else tidies this lake at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A table as its newest snapshot has it, and how many snapshots it has. None of it counts what is not live."""

    files: int
    size_bytes: int
    snapshots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """What was done to a table, or in a dry run would be. ``removed`` files were those of expired snapshots alone."""

    table: str
    before: Size
    after: Size
    expired: int
    removed: int
    orphans: int
    orphan_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Times as of which a run decides. ``strays_before`` lies before anything that a job may be restored from."""

    now: datetime
    expire_before: datetime
    strays_before: datetime


def rules(deployment: Deployment, now: datetime, keep_hours: float | None = None) -> Rules:
    """A job is not restored from a state that has expired, so files that it has written and may still commit are
    younger than that.
    """
    stray_hours = max(LEAST_STRAY_HOURS, deployment.state_ttl_hours)
    return Rules(
        now=now,
        expire_before=now - timedelta(hours=KEEP_HOURS if keep_hours is None else keep_hours),
        strays_before=now - timedelta(hours=stray_hours),
    )


def maintain(deployment: Deployment, rule: Rules, *, dry: bool = False) -> Iterator[Tidied]:
    """Maintains each table of the lake and yields what became of it; a dry run only looks. Blocks.

    Raises MaintenanceRuns when another run is at it, Retryable when Postgres is away or the live job's commits always
    came first, LakeDamaged when files hold other rows than the table states.
    """
    with _one_at_a_time(deployment), _catalog(deployment) as catalog:
        for identifier in _tables(deployment, catalog):
            yield look(catalog, identifier, rule) if dry else tidy(catalog, identifier, rule)


def sizes(deployment: Deployment) -> dict[str, Size]:
    """Every table of the lake by name. Raises Retryable when Postgres is away."""
    with _catalog(deployment) as catalog:
        return {".".join(i): size(catalog.load_table(i)) for i in _tables(deployment, catalog)}


def _tables(deployment: Deployment, catalog: Catalog) -> list[tuple[str, ...]]:
    if deployment.lake_catalog == "postgres":
        return sorted(i for namespace in catalog.list_namespaces() for i in catalog.list_tables(namespace))
    # Glue lists all tables of the account: those of others are not ours to tidy.
    ours = [namespace for namespace in catalog.list_namespaces() if namespace[0] in IN_GLUE]
    inside = f"{deployment.lake_warehouse.rstrip('/')}/"
    found = sorted(i for namespace in ours for i in catalog.list_tables(namespace))
    return [i for i in found if catalog.load_table(i).location().startswith(inside)]


@contextmanager
def _catalog(deployment: Deployment) -> Iterator[Catalog]:
    try:
        with glue_answers(deployment), open_lake(deployment) as catalog:
            yield catalog
    except Exception as error:
        # What the catalog's library raises wraps what Postgres' driver did.
        if not isinstance(error.__cause__, psycopg.OperationalError):
            raise
        raise Retryable(
            f"Postgres at {deployment.postgres_host}:{deployment.postgres_port}, which has the lake's catalog, is"
            f" unreachable: {error.__cause__}"
        ) from error


@contextmanager
def _one_at_a_time(deployment: Deployment) -> Iterator[None]:
    """Two at once would write the same files twice, for one of them to throw away."""
    deployment.work_dir.mkdir(parents=True, exist_ok=True)
    with (deployment.work_dir / "maintenance.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise MaintenanceRuns(
                f"process {lock.read().strip()} is already maintaining the lake; wait until it ends"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def size(table: Table) -> Size:
    """From the summary of its newest snapshot."""
    newest = table.current_snapshot()
    summary = newest.summary.additional_properties if newest and newest.summary else {}
    return Size(
        files=int(summary.get("total-data-files", 0)),
        size_bytes=int(summary.get("total-files-size", 0)),
        snapshots=len(table.metadata.snapshots),
    )


def tidy(catalog: Catalog, identifier: tuple[str, ...], rule: Rules) -> Tidied:
    """Compacts first, so that what it replaced may expire with the rest; then snapshots; then orphans."""
    before = size(catalog.load_table(identifier))
    for group in _to_compact(catalog.load_table(identifier), rule):
        compaction.compact(catalog, identifier, group)
    expired, removed = retention.expire(catalog, identifier, rule.expire_before)
    table = catalog.load_table(identifier)
    orphans = retention.strays(table, rule.strays_before)
    for orphan in orphans:
        retention.remove(table, orphan.path)
    return Tidied(
        table=".".join(identifier),
        before=before,
        after=size(catalog.load_table(identifier)),
        expired=expired,
        removed=removed,
        orphans=len(orphans),
        orphan_bytes=sum(orphan.size_bytes for orphan in orphans),
    )


def look(catalog: Catalog, identifier: tuple[str, ...], rule: Rules) -> Tidied:
    """What ``tidy`` would do now. Bytes after it aren't known before the files are written, and stay as they are."""
    table = catalog.load_table(identifier)
    before, groups = size(table), _to_compact(table, rule)
    expired = retention.expired(table, rule.expire_before)
    orphans = retention.strays(table, rule.strays_before)
    fewer = sum(len(group) - 1 for group in groups)
    return Tidied(
        table=".".join(identifier),
        before=before,
        after=replace(before, files=before.files - fewer, snapshots=before.snapshots + len(groups) - len(expired)),
        expired=len(expired),
        removed=0,
        orphans=len(orphans),
        orphan_bytes=sum(orphan.size_bytes for orphan in orphans),
    )


def _to_compact(table: Table, rule: Rules) -> list[list[DataFile]]:
    """A copy of Postgres is written a day at once, and needs none of it."""
    return [] if retention.PUBLISHED in table.properties else compaction.plan(table, rule.now.date())
