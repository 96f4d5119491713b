"""Which snapshots of a lake table stay, which files belong to them, and what may be removed.

A restored job walks from the newest snapshot through its parents to the last one that was committed by the job that
wrote its state, and reads from it the checkpoint up to which everything is committed (Iceberg 1.11, SinkUtil and
IcebergFilesCommitter). If it finds none, it commits again what it had committed. So the path from the newest snapshot
to the newest one of a Flink job stays complete, however old. Nothing older is needed: if another job has committed
since, no state of the earlier job can still be restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlparse

from pyarrow import fs
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from schemas.errors import Retryable

JOB_ID = "flink.job-id"
# Each commit goes through all snapshots for each that is removed, and the live job does not wait meanwhile.
AT_ONCE = 500
ATTEMPTS = 20
PIN = "replay-"
PUBLISHED = "insights.published"
"""Property of a table that is a copy of one in Postgres (replay/publish.py). No job writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A file in a table's folder that no snapshot knows."""

    path: str
    size_bytes: int


def expired(table: Table, before: datetime) -> list[Snapshot]:
    """Snapshots that may go, oldest first: those before this time that no job, branch or tag needs."""
    needed = {ref.snapshot_id for ref in table.metadata.refs.values()} | {s.snapshot_id for s in _way_back(table)}
    before_ms = before.timestamp() * 1000
    # An ancestor of one that stays for its age stays as well only if it is as young: time goes one way along the line.
    gone = [s for s in table.metadata.snapshots if s.timestamp_ms < before_ms and s.snapshot_id not in needed]
    return sorted(gone, key=lambda s: s.sequence_number or 0)


def _way_back(table: Table) -> Iterator[Snapshot]:
    """From the newest snapshot to the newest one of a Flink job; all when there is none."""
    if PUBLISHED in table.properties:
        return
    for snapshot in ancestors_of(table.snapshot_by_name(MAIN_BRANCH), table.metadata):
        yield snapshot
        if snapshot.summary is not None and JOB_ID in snapshot.summary.additional_properties:
            return


def expire(catalog: Catalog, identifier: tuple[str, ...], before: datetime) -> tuple[int, int]:
    """Expires those snapshots and removes the files that were theirs alone: how many snapshots, how many files. Blocks.

    Killed in between, it leaves files that no snapshot knows; ``strays`` finds them. Raises Retryable when others'
    commits came first again and again.
    """
    table = catalog.load_table(identifier)
    gone = expired(table, before)
    if not gone:
        return 0, 0
    theirs = _files_of(table, gone)
    for start in range(0, len(gone), AT_ONCE):
        _forget(catalog, identifier, [s.snapshot_id for s in gone[start : start + AT_ONCE]])
    table = catalog.load_table(identifier)
    alone = theirs - _files_of(table, table.metadata.snapshots)
    for path in alone:
        remove(table, path)
    return len(gone), len(alone)


def _forget(catalog: Catalog, identifier: tuple[str, ...], snapshot_ids: list[int]) -> None:
    for _ in range(ATTEMPTS):
        table = catalog.load_table(identifier)
        try:
            table.maintenance.expire_snapshots().by_ids(snapshot_ids).commit()
            return
        except CommitFailedException:
            continue  # another commit came first
    raise Retryable(
        f"{'.'.join(identifier)}: {ATTEMPTS} times another commit came first; no more snapshots were removed,"
        " the next run tries again"
    )


def _files_of(table: Table, snapshots: list[Snapshot]) -> set[str]:
    """Manifest lists, manifests and data files of these snapshots."""
    lists = {s.manifest_list for s in snapshots}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        manifests |= {m.manifest_path: m for m in snapshot.manifests(table.io)}
    data = {e.data_file.file_path for m in manifests.values() for e in m.fetch_manifest_entry(table.io)}
    return lists | manifests.keys() | data


def strays(table: Table, before: datetime) -> list[Stray]:
    """Files in the table's folder that were last written before this time and belong to no snapshot.

    Files of a checkpoint that was not committed yet are such files too: ``before`` must lie before anything that a job
    may still be restored from. Raises Retryable, and names nothing, when the folder can't be the table's.
    """
    known = {_place(path) for path in _files_of(table, table.metadata.snapshots) | _metadata_files(table)}
    system, folder = _files(table)
    files = [f for f in system.get_file_info(fs.FileSelector(folder, recursive=True)) if f.is_file]
    # A commit since the table was read only adds files, and those are young.
    if _place(table.metadata_location) not in {f.path for f in files}:
        raise Retryable(
            f"{table.metadata_location} is not among the files of {folder}: the table changed meanwhile, or its"
            " files have other names there; no orphan was removed"
        )
    of_storage = "s3://" if table.location().startswith("s3://") else ""  # a listing has none
    return [
        Stray(path=f"{of_storage}{f.path}", size_bytes=f.size)
        for f in files
        if f.path not in known and f.mtime is not None and f.mtime < before
    ]


def _files(table: Table) -> tuple[fs.FileSystem, str]:
    """The file system that the table is in, as its catalog reaches it, and the table's folder there."""
    io = table.io
    assert isinstance(io, PyArrowFileIO)
    scheme, netloc, folder = io.parse_location(table.location(), table.properties)
    return io.fs_by_scheme(scheme, netloc), folder


def _metadata_files(table: Table) -> set[str]:
    statistics = {s.statistics_path for s in table.metadata.statistics}
    log = {entry.metadata_file for entry in table.metadata.metadata_log}
    return {table.metadata_location, f"{table.location()}/metadata/version-hint.text"} | log | statistics


def _place(uri: str) -> str:
    """A file's address as a listing has it: Flink writes ``file:/a``, pyiceberg ``file:///a``, a listing ``/a``."""
    parsed = urlparse(uri)
    return f"{parsed.netloc}{parsed.path}"


def remove(table: Table, path: str) -> None:
    """Removes a file; a missing one is fine."""
    try:
        table.io.delete(path)
    except FileNotFoundError:
        pass


def pin(table: Table, run: str) -> int:
    """Keeps the newest snapshot, its id, whole until ``unpin``: a replay reads it for hours, and it would expire.

    A run that has a pin already keeps it. Raises ValueError when the table has no snapshot: then there is nothing to
    read either.
    """
    name = PIN + run
    for _ in range(ATTEMPTS):
        table.refresh()
        if name in table.metadata.refs:
            return table.metadata.refs[name].snapshot_id
        newest = table.current_snapshot()
        if newest is None:
            raise ValueError(f"{'.'.join(table.name())} has no snapshot to pin")
        try:
            table.manage_snapshots().create_tag(newest.snapshot_id, name).commit()
        except CommitFailedException:
            continue
    raise Retryable(f"{'.'.join(table.name())}: {ATTEMPTS} times another commit came before the pin of {run}")


def unpin(table: Table, run: str) -> None:
    """What the run pinned may expire. Does nothing when it has no pin."""
    for _ in range(ATTEMPTS):
        table.refresh()
        if PIN + run not in table.metadata.refs:
            return
        try:
            table.manage_snapshots().remove_tag(PIN + run).commit()
        except CommitFailedException:
            continue
    raise Retryable(f"{'.'.join(table.name())}: {ATTEMPTS} times another commit came before the pin of {run} was gone")
