"""Postgres' messages of logical replication, as far as they say which rows changed. Pure.

Version 1 of https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html, as pgoutput writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

IGNORED: Final = b"BCYOM"  # a transaction's begin and end, a type, an origin, a message of a program's


class Relation(NamedTuple):
    """A table as it was when it was written: its name with its schema's, and its columns."""

    name: str
    columns: tuple[str, ...]


class Changed(NamedTuple):
    """A row of a table was written: a column's value before or after, as text, where it is known. No row: truncated."""

    table: str
    row: Mapping[str, str | None] | None


@dataclass(slots=True)
class _Reader:
    """Reads one message's bytes from the front."""

    data: bytes
    at: int = 0

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(f">{form}", self.data, self.at)
        self.at += struct.calcsize(form)
        return int(found)

    def byte(self) -> bytes:
        self.at += 1
        return self.data[self.at - 1 : self.at]

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        found = self.data[self.at : end].decode()
        self.at = end + 1
        return found

    def bytes_(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


class Decoder:
    """Reads the messages of one slot, in their order: a table's columns come before its rows."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def decode(self, data: bytes) -> Iterator[Changed]:
        """What a message says. Raises ValueError for one that is not of this protocol's."""
        read = _Reader(data)
        match read.byte():
            case b"R":
                self._relation(read)
            case b"I" | b"U" | b"D":
                yield from self._changed(read)
            case b"T":
                count = read.number("i")
                read.byte()
                yield from (Changed(self._relations[read.number("I")].name, None) for _ in range(count))
            case kind if kind not in IGNORED:
                raise ValueError(f"a message of the unknown kind {kind!r}")

    def _relation(self, read: _Reader) -> None:
        number = read.number("I")
        name = f"{read.text()}.{read.text()}"
        read.byte()
        columns = []
        for _ in range(read.number("h")):
            read.byte()
            columns.append(read.text())
            read.bytes_(8)
        self._relations[number] = Relation(name, tuple(columns))

    def _changed(self, read: _Reader) -> Iterator[Changed]:
        """The row before, where the message has it, and the row after."""
        relation = self._relations[read.number("I")]
        while read.at < len(read.data):
            read.byte()
            yield Changed(relation.name, dict(zip(relation.columns, _values(read), strict=True)))


def _values(read: _Reader) -> list[str | None]:
    found: list[str | None] = []
    for _ in range(read.number("h")):
        kind = read.byte()
        # Neither null nor left out, because it is long and did not change, is a value by which a row is known.
        # A database without an encoding has bytes that are no text, also in columns that nobody asks for.
        found.append(read.bytes_(read.number("i")).decode(errors="surrogateescape") if kind == b"t" else None)
    return found
