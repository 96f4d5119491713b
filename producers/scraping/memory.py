"""What the scraper keeps between looks, in SQLite: last price and content of each product, and the unsent observations.

An observation is kept here, with its event id, before it is published, and forgotten after Kafka acknowledged it. A
scraper killed in between publishes it again under the same id, which counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from producers import state

SCHEMA: Final = """
create table if not exists products (
    shop text, product_id text, price text not null, content_hash text not null, published_at real not null,
    primary key (shop, product_id)) without rowid;
create table if not exists pages (url text primary key, etag text, read_at real not null) without rowid;
create table if not exists broken (
    url text primary key, body blob not null, reason text not null, sent integer not null) without rowid;
create table if not exists unsent (place integer primary key, event_id text not null unique, record text not null);
"""
MONEY: Final = ("price", "list_price", "previous_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was last published of a product."""

    price: Decimal
    content_hash: str
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A page that no product could be read from: the head of what came, and why."""

    url: str
    body: bytes
    reason: str


class Memory:
    """The scraper's state file. Every method is one transaction."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file."""
        self._database = state.opened(path)
        self._database.executescript(SCHEMA)

    def known(self, shop: str, product_id: str) -> Known | None:
        """The last publication of a product, or None at its first sight."""
        row = self._database.execute(
            "select price, content_hash, published_at from products where shop = ? and product_id = ?",
            (shop, product_id),
        ).fetchone()
        if row is None:
            return None
        return Known(price=Decimal(row[0]), content_hash=row[1], published_at=datetime.fromtimestamp(row[2], UTC))

    def etag(self, url: str, not_before: datetime) -> str | None:
        """The page's ETag at the last look, unless that was before ``not_before``."""
        asked = "select etag from pages where url = ? and read_at >= ?"
        row = self._database.execute(asked, (url, not_before.timestamp())).fetchone()
        return row[0] if row else None

    def looked(self, url: str, etag: str | None, at: datetime, observation: Mapping[str, Any] | None) -> None:
        """Keep the page's ETag and, when something is to be published, the observation."""
        self._database.execute("begin")
        self._database.execute("insert or replace into pages values (?, ?, ?)", (url, etag, at.timestamp()))
        self._database.execute("delete from broken where url = ?", (url,))
        if observation is not None:
            o = observation
            values = (o["shop"], o["product_id"], str(o["price"]), o["content_hash"], at.timestamp())
            self._database.execute("insert or replace into products values (?, ?, ?, ?, ?)", values)
            self._database.execute("insert into unsent (event_id, record) values (?, ?)", (o["event_id"], _written(o)))
        self._database.execute("commit")

    def broke(self, page: Broken) -> None:
        """Keep a page that could not be read for the dead letters, unless its last content was the same."""
        self._database.execute(
            "insert into broken values (:url, :body, :reason, 0) on conflict (url) do update"
            " set body = excluded.body, reason = excluded.reason, sent = 0 where body != excluded.body",
            {"url": page.url, "body": page.body, "reason": page.reason},
        )

    def letters(self) -> list[Broken]:
        """Pages that may not be in the dead letters yet."""
        rows = self._database.execute("select url, body, reason from broken where not sent order by url")
        return [Broken(url=url, body=body, reason=reason) for url, body, reason in rows]

    def unsent(self) -> list[dict[str, Any]]:
        """Observations that may not be on the log yet, oldest first."""
        rows = self._database.execute("select record from unsent order by place")
        return [_read(text) for (text,) in rows]

    def sent(self, event_ids: Iterable[str], broken_urls: Iterable[str] = ()) -> None:
        """Forget observations, and mark broken pages, that Kafka acknowledged."""
        self._database.execute("begin")
        self._database.executemany("delete from unsent where event_id = ?", [(i,) for i in event_ids])
        self._database.executemany("update broken set sent = 1 where url = ?", [(url,) for url in broken_urls])
        self._database.execute("commit")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _written(record: Mapping[str, Any]) -> str:
    texts = {name: str(record[name]) for name in MONEY if record[name] is not None}
    return json.dumps({**record, **texts, "occurred_at": record["occurred_at"].isoformat()})


def _read(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    record |= {name: Decimal(record[name]) for name in MONEY if record[name] is not None}
    record["occurred_at"] = datetime.fromisoformat(record["occurred_at"])
    return record
