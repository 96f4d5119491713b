"""Who may send web events: a public key for each source, in one SQLite file that only its owner can read.

A key is in the shop's pages, so it is not a secret: it identifies the source and the sites from which browsers may
send. The command line writes the file; the collector reads it, and also keeps its own state in it.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from producers import state
from schemas.errors import Misconfigured

FILE: Final = "collect.sqlite"
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
SCHEMA: Final = """
create table if not exists keys (
    name text primary key, key text not null unique, origins text not null) without rowid;
create table if not exists tallies (
    name text, day integer, outcome text, events integer not null, primary key (name, day, outcome)) without rowid;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A source of web events: its name, its public key, and the origins whose pages may send with it."""

    name: str
    key: str
    origins: frozenset[str]


def opened(folder: Path) -> sqlite3.Connection:
    """The file, its owner's only. Made when it is missing."""
    database = state.opened(state.only_for_its_owner(folder / FILE), by_threads=True)
    database.execute("pragma synchronous=normal")  # a kill loses nothing; a power cut may lose the last visits
    database.executescript(SCHEMA)
    return database


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(opened(folder)) as database:
        yield database


def add(folder: Path, name: str, origins: Sequence[str]) -> Key:
    """Create a key. Raises Misconfigured if the name exists, or if the name or an origin is invalid."""
    if NAME.fullmatch(name) is None:
        raise Misconfigured(f"{name!r} can't be a source's name: use up to 40 lower-case letters, digits and hyphens")
    allowed = sorted({origin(text) for text in origins})
    with _opened(folder) as database:
        try:
            database.execute(
                "insert into keys values (?, ?, ?)", (name, f"wk_{secrets.token_urlsafe(18)}", " ".join(allowed))
            )
        except sqlite3.IntegrityError:
            raise Misconfigured(
                f"{name} has a key already: `insights collect list` shows it. To change its origins, remove it and add"
                " it again; the pages then need the new key"
            ) from None
    return next(key for key in listed(folder) if key.name == name)


def remove(folder: Path, name: str) -> None:
    """Remove a key: events with it are refused from then on. Raises Misconfigured naming the existing keys."""
    with _opened(folder) as database:
        if database.execute("delete from keys where name = ?", (name,)).rowcount == 0:
            known = ", ".join(key.name for key in listed(folder))
            raise Misconfigured(
                f"there is no key named {name!r}; " + (f"there are: {known}" if known else "there are no keys yet")
            )


def listed(folder: Path) -> list[Key]:
    """All keys, by name."""
    rows = state.rows(folder / FILE, "keys", "select name, key, origins from keys order by name")
    return [Key(name=name, key=key, origins=frozenset(origins.split())) for name, key, origins in rows]


def tallies(folder: Path, since_day: int) -> dict[tuple[str, str], int]:
    """By source and outcome (``published``, ``bot`` or ``refused``) the events since a day, in days since 1970."""
    query = "select name, outcome, sum(events) from tallies where day >= ? group by 1, 2"
    rows = state.rows(folder / FILE, "tallies", query, (since_day,))
    return {(name, outcome): events for name, outcome, events in rows}


def origin(text: str) -> str:
    """``https://bikes.example`` of an address of a page, as browsers write it. Raises Misconfigured."""
    parts = urlsplit(text.strip().lower())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path not in ("", "/"):
        raise Misconfigured(f"{text!r} is not the origin of pages; write it as https://bikes.example")
    return f"{parts.scheme}://{parts.netloc}"
