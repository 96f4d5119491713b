"""What was published of a source's orders, in one SQLite file per source.

It is also the cursor: what is not in it may not be on the log. It is written in batches, each in one transaction after
Kafka has acknowledged all of it, so that after a kill the newest batch is published again, under the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from producers import state
from producers.order_file.steps import Step, Withdrawal
from producers.withdrawn import head_of

CACHE_KIB: Final = 64 << 10
WITHDRAWN: Final = b"withdrawn"
SCHEMA: Final = """
create table if not exists known (key text primary key, digest blob not null) without rowid;
create temp table asked (key text primary key) without rowid;
"""
COLUMNS: Final = {"version": "integer", "at_ms": "integer", "head": "text"}
"""Files from before corrections were published have none of these."""


def path_of(folder: Path, source: str) -> Path:
    """Where the memory of a source's orders is."""
    return folder / f"{source}-orders.sqlite"


class Known(NamedTuple):
    """The newest state of an order or a refund on the log; its digest is WITHDRAWN when it no longer counts.

    ``version`` is None of what has no states: a row of a file without order ids, a dead letter, or what was imported
    before corrections were published. ``at_ms`` and ``head`` (``head_of``) are there with a version.
    """

    digest: bytes
    version: int | None = None
    at_ms: int = 0
    head: dict[str, str] = {}  # noqa: RUF012 nobody changes it

    @classmethod
    def of(cls, step: Step | Withdrawal, record: Mapping[str, Any]) -> Known:
        """What is known once this is published as this record."""
        if step.version is None:
            assert isinstance(step, Step)
            return cls(step.digest)
        digest = WITHDRAWN if isinstance(step, Withdrawal) else step.state
        return cls(digest, step.version, step.at_ms, head_of(record))

    def is_of(self, step: Step) -> bool:
        """Whether it is this state."""
        if self.version is None:
            return self.digest == step.digest
        return self.digest == step.state and self.at_ms == step.at_ms

    def corrected(self, step: Step, now_ms: int) -> list[Step | Withdrawal]:
        """What makes this state the one that counts. All states have one time: what was moved is withdrawn there."""
        if self.digest == WITHDRAWN or self.at_ms == step.at_ms:
            return [step._replace(version=self._next_version(now_ms))]
        withdrawal = self.withdrawal(step.key, step.line, now_ms)
        return [withdrawal, step._replace(version=withdrawal.version + 1)]

    def withdrawal(self, key: str, line: int, now_ms: int) -> Withdrawal:
        """What makes it count no more."""
        kind, _, order_id = key.partition(":")
        return Withdrawal(self.at_ms, line, kind, order_id, self._next_version(now_ms), self.head)

    def _next_version(self, now_ms: int) -> int:
        """Above that of what an import published that was killed before it was remembered, and not done again."""
        assert self.version is not None
        return max(self.version + 1, now_ms)


class Memory:
    """Remembers by key what was published: ``order:1001``, ``refund:1001``, or a refused row."""

    def __init__(self, path: Path) -> None:
        self._database = state.opened(path)
        # A lost last commit only publishes some events again, under the same ids.
        self._database.execute("pragma synchronous=normal")
        self._database.execute(f"pragma cache_size=-{CACHE_KIB}")  # keys come in no order: each may touch any page
        self._database.executescript(SCHEMA)
        there = {row[1] for row in self._database.execute("pragma table_info(known)")}
        for column, kind in COLUMNS.items():
            if column not in there:
                self._database.execute(f"alter table known add column {column} {kind}")
        self._noted: list[tuple[str, bytes, int | None, int, str | None]] = []

    def known(self, keys: Iterable[str]) -> dict[str, Known]:
        """Those of the keys that are known: one question, however many they are."""
        self._database.execute("begin")
        self._database.executemany("insert or ignore into asked values (?)", ((key,) for key in keys))
        rows = self._database.execute("select key, digest, version, at_ms, head from known join asked using (key)")
        found = {
            key: Known(digest) if version is None else Known(digest, version, at_ms, json.loads(head))
            for key, digest, version, at_ms, head in rows
        }
        self._database.execute("delete from asked")
        self._database.execute("commit")
        return found

    def note(self, key: str, known: Known) -> None:
        """An event, or a dead letter, is being published."""
        head = json.dumps(known.head) if known.version is not None else None
        self._noted.append((key, known.digest, known.version, known.at_ms, head))

    def commit(self) -> None:
        """All that was noted is on the log."""
        self._database.execute("begin")
        self._database.executemany(
            "insert or replace into known (key, digest, version, at_ms, head) values (?, ?, ?, ?, ?)", self._noted
        )
        self._database.execute("commit")
        self._noted.clear()

    def close(self) -> None:
        """Close the file; what was noted and not committed is as if it never was."""
        self._database.close()


def published(path: Path) -> int:
    """How many events and dead letters are in the memory at ``path``; 0 when there is none."""
    found = state.rows(path, "known", "select count(*) from known")
    return int(found[0][0]) if found else 0
