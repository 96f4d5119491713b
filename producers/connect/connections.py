"""Which shops are connected, and how to reach them: one SQLite file, written by the command line, read by the daemon.

What opens a shop is encrypted under a key of that connection, as a customer's name and address are under that
customer's: the keys are in ``keys.sqlite`` beside it, and deleting one makes every copy of what it sealed unreadable.
Both files can be read by their owner only.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from producers import state
from producers.connect.orders import Shop
from schemas.binary import since_epoch
from schemas.errors import Misconfigured

FILE: Final = "connections.sqlite"
KEYS_FILE: Final = "keys.sqlite"
KEY_BITS: Final = 256
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
CREDENTIALS: Final = "credentials"
GUESTS: Final = "guests"
SCHEMA: Final = """
pragma secure_delete = on;
create table if not exists connections (
    name text primary key, platform text not null, url text not null, since text not null, sealed blob not null)
    without rowid;
create table if not exists hooks (name text primary key, uri text not null) without rowid;
"""
KEYS_SCHEMA: Final = """
pragma secure_delete = on;
create table if not exists connection_keys (
    name text, purpose text, key blob not null,
    primary key (name, purpose)) without rowid;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What opens a shop's API, a name and a secret by whatever name the platform has them, and what signs webhooks."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connected shop. Its guests' e-mail addresses are hashed with ``guest_key``.

    ``hooks`` is where the shop was told to send its webhooks; None where nobody said that.
    """

    name: str
    platform: str
    url: str
    since: datetime
    credentials: Credentials = field(repr=False)
    guest_key: bytes = field(repr=False)
    hooks: str | None = field(default=None, repr=False)

    @property
    def since_ms(self) -> int:
        return since_epoch(self.since)

    @property
    def shop(self) -> Shop:
        """What the reading of its orders needs."""
        return Shop(self.name, self.guest_key)

    @property
    def origin(self) -> dict[str, str]:
        """Where a dead letter of it comes from."""
        return {"shop": self.name, "url": self.url}


class Connections:
    """The connections kept in a folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(
        self, *, name: str, platform: str, url: str, since: datetime, credentials: Credentials, hooks: str | None = None
    ) -> Connection:
        """Store a connection. Raises Misconfigured if the name exists, or is invalid."""
        if NAME.fullmatch(name) is None:
            raise Misconfigured(
                f"{name!r} can't be a shop's name here: use up to 40 lower-case letters, digits and hyphens"
            )
        if name in names(self._folder):
            raise Misconfigured(
                f"{name} is connected already; `insights connect remove {name}` first, or choose another --name"
            )
        key, guest_key = AESSIV.generate_key(KEY_BITS), secrets.token_bytes(32)
        with self._opened(KEYS_FILE, KEYS_SCHEMA) as keys:
            keys.execute("insert or replace into connection_keys values (?, ?, ?)", (name, CREDENTIALS, key))
            # A shop that is connected again knows its guests by the names that they had.
            keys.execute("insert or ignore into connection_keys values (?, ?, ?)", (name, GUESTS, guest_key))
        sealed = AESSIV(key).encrypt(json.dumps(asdict(credentials)).encode(), _bound(name))
        with self._opened(FILE, SCHEMA) as database:
            values = (name, platform, url, since.astimezone(UTC).isoformat(), sealed)
            database.execute("insert into connections values (?, ?, ?, ?, ?)", values)
            if hooks is not None:
                database.execute("insert or replace into hooks values (?, ?)", (name, hooks))
        return self.get(name)

    def get(self, name: str) -> Connection:
        """A connection. Raises Misconfigured naming the existing ones, or if its key is gone."""
        known = names(self._folder)
        if name not in known:
            listed = f"connected are {', '.join(known)}" if known else "no shop is connected"
            raise Misconfigured(f"there is no connection {name!r}; {listed}")
        with self._opened(FILE, SCHEMA) as database:
            row = database.execute(
                "select platform, url, since, sealed, uri from connections left join hooks using (name) where name = ?",
                (name,),
            ).fetchone()
        with self._opened(KEYS_FILE, KEYS_SCHEMA) as keys:
            found = dict(keys.execute("select purpose, key from connection_keys where name = ?", (name,)))
        platform, url, since, sealed, hooks = row
        try:
            credentials = Credentials(**json.loads(AESSIV(found[CREDENTIALS]).decrypt(sealed, _bound(name))))
        except (KeyError, InvalidTag):
            raise Misconfigured(
                f"the credentials of {name} can't be read: their key is not in {self._folder / KEYS_FILE}. Remove the"
                f" connection (`insights connect remove {name}`) and connect the shop again"
            ) from None
        return Connection(
            name=name,
            platform=platform,
            url=url,
            since=datetime.fromisoformat(since),
            credentials=credentials,
            guest_key=found[GUESTS],
            hooks=hooks,
        )

    def remove(self, name: str) -> None:
        """Forget a connection and the key of its credentials. Raises Misconfigured when there is none."""
        if name not in names(self._folder):
            self.get(name)
        with self._opened(KEYS_FILE, KEYS_SCHEMA) as keys:
            keys.execute("delete from connection_keys where name = ? and purpose = ?", (name, CREDENTIALS))
        with self._opened(FILE, SCHEMA) as database:
            database.execute("delete from connections where name = ?", (name,))
            database.execute("delete from hooks where name = ?", (name,))

    @contextmanager
    def _opened(self, file: str, schema: str) -> Iterator[sqlite3.Connection]:
        """One of the two files, its owner's only, and what is written to it on disk at the end."""
        with closing(state.opened(state.only_for_its_owner(self._folder / file))) as database:
            database.executescript(schema)
            yield database
            database.execute("pragma wal_checkpoint(truncate)")  # or what was deleted stays in the log beside it


def names(folder: Path) -> list[str]:
    """The connected shops' names. Opens no key."""
    return list(sealed(folder))


def sealed(folder: Path) -> dict[str, bytes]:
    """The connected shops' names, with their encrypted credentials, which differ if a shop is connected again."""
    return dict(state.rows(folder / FILE, "connections", "select name, sealed from connections order by name"))


def addresses(folder: Path) -> dict[str, str]:
    """The connected shops' names, each with its address. Opens no key."""
    return dict(state.rows(folder / FILE, "connections", "select name, url from connections order by name"))


def shops(folder: Path) -> list[Shop]:
    """Every shop that was ever connected, with the key of its guests."""
    query = "select name, key from connection_keys where purpose = ? order by name"
    return [Shop(name, key) for name, key in state.rows(folder / KEYS_FILE, "connection_keys", query, (GUESTS,))]


def name_of(url: str) -> str:
    """A name for the shop at this address: ``bikes-example`` of https://www.bikes.example."""
    parts = urlsplit(url)
    said = f"{parts.netloc.lower().removeprefix('www.')}{parts.path.lower()}"
    return re.sub(r"[^a-z0-9]+", "-", said).strip("-")[:40].strip("-")


def _bound(name: str) -> list[bytes]:
    return [name.encode(), CREDENTIALS.encode()]
