"""The scraper's state between observations, in SQLite: last price and content of each product, and unsent observations.

An observation is stored here, with its event id, before it is published, and removed after Kafka has acknowledged it.
If the scraper is killed in between, it publishes the observation again under the same id, which counts once.
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
create table if not exists prices (
    shop text, product_id text, currency text, price text not null,
    primary key (shop, product_id, currency)) without rowid;
create table if not exists unsent (place integer primary key, event_id text not null unique, record text not null);
"""
PAGE: Final = "page"  # in a kept record: the address that was read, which need not be the canonical one
PAGE_OF: Final = f"select json_extract(record, '$.{PAGE}') from unsent where event_id = ?"  # noqa: S608 a constant
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

    def price(self, shop: str, product_id: str, currency: str) -> Decimal | None:
        """The price at the last look that was in this currency; None at the first."""
        rows = self._database.execute(
            "select currency, price from prices where shop = ? and product_id = ?", (shop, product_id)
        )
        prices = {code: Decimal(price) for code, price in rows}
        if prices:
            return prices.get(currency)
        known = self.known(shop, product_id)  # by a scraper that did not note currencies yet
        return known.price if known else None

    def etag(self, url: str, not_before: datetime) -> str | None:
        """The page's ETag at the last look, unless that was before ``not_before``."""
        asked = "select etag from pages where url = ? and read_at >= ?"
        row = self._database.execute(asked, (url, not_before.timestamp())).fetchone()
        return row[0] if row else None

    def looked(self, url: str, etag: str | None, at: datetime, observation: Mapping[str, Any] | None) -> None:
        """Keep the page's ETag and, when something is to be published, the observation.

        A page that could not be read before is removed: at once, or when its observation is sent.
        """
        self._database.execute("begin")
        self._database.execute("insert or replace into pages values (?, ?, ?)", (url, etag, at.timestamp()))
        if observation is None:
            self._database.execute("delete from broken where url = ?", (url,))
        else:
            self._note(observation, at)
            values = (observation["event_id"], _written({**observation, PAGE: url}))
            self._database.execute("insert into unsent (event_id, record) values (?, ?)", values)
        self._database.execute("commit")

    def is_new(self) -> bool:
        """Whether no product was ever published."""
        return self._database.execute("select 1 from products limit 1").fetchone() is None

    def published(self, observations: Iterable[Mapping[str, Any]]) -> None:
        """Note observations that are on the log, oldest first, as if they had been looked at here."""
        self._database.execute("begin")
        for o in observations:
            self._note(o, o["occurred_at"])
        self._database.execute("commit")

    def _note(self, o: Mapping[str, Any], at: datetime) -> None:
        values = (o["shop"], o["product_id"], str(o["price"]), o["content_hash"], at.timestamp())
        self._database.execute("insert or replace into products values (?, ?, ?, ?, ?)", values)
        priced = (o["shop"], o["product_id"], o["currency"], str(o["price"]))
        self._database.execute("insert or replace into prices values (?, ?, ?, ?)", priced)

    def broke(self, page: Broken) -> None:
        """Keep a page that could not be read for the dead letters, unless its last content was the same."""
        self._broke(page)

    def _broke(self, page: Broken) -> None:
        self._database.execute(
            "insert into broken values (:url, :body, :reason, 0) on conflict (url) do update"
            " set body = excluded.body, reason = excluded.reason, sent = 0 where body != excluded.body",
            {"url": page.url, "body": page.body, "reason": page.reason.encode(errors="replace").decode()},
        )

    def letters(self) -> list[Broken]:
        """Pages that may not be in the dead letters yet."""
        rows = self._database.execute("select url, body, reason from broken where not sent order by url")
        return [Broken(url=url, body=body, reason=reason) for url, body, reason in rows]

    def unsent(self) -> list[dict[str, Any]]:
        """Observations that may not be on the log yet, oldest first."""
        rows = self._database.execute("select record from unsent order by place")
        return [_read(text) for (text,) in rows]

    def refused(self, record: Mapping[str, Any], body: bytes, reason: str) -> None:
        """The observation can never be published: it becomes a dead letter, and its page and product stay unseen."""
        (page,) = self._database.execute(PAGE_OF, (record["event_id"],)).fetchone() or (record["url"],)
        product = (record["shop"], record["product_id"])
        self._database.execute("begin")
        self._database.execute("delete from unsent where event_id = ?", (record["event_id"],))
        self._database.execute("delete from products where shop = ? and product_id = ?", product)
        self._database.execute("delete from pages where url = ?", (page,))
        self._broke(Broken(url=page, body=body, reason=reason))
        self._database.execute("commit")

    def sent(self, event_ids: Iterable[str], broken_urls: Iterable[str] = ()) -> None:
        """Remove observations, and mark broken pages, that Kafka acknowledged."""
        event_ids = list(event_ids)
        self._database.execute("begin")
        mended = f"delete from broken where url = ({PAGE_OF})"  # noqa: S608 a constant
        self._database.executemany(mended, [(i,) for i in event_ids])
        self._database.executemany("delete from unsent where event_id = ?", [(i,) for i in event_ids])
        self._database.executemany("update broken set sent = 1 where url = ?", [(url,) for url in broken_urls])
        self._database.execute("commit")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _written(record: Mapping[str, Any]) -> str:
    texts = {**record, **_with_money(record, str), "occurred_at": record["occurred_at"].isoformat()}
    if variants := record.get("variants"):
        texts["variants"] = [{**v, **_with_money(v, str)} for v in variants]
    return json.dumps(texts)


def _read(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    record.pop(PAGE, None)
    record |= _with_money(record, Decimal)
    for variant in record.get("variants") or ():
        variant |= _with_money(variant, Decimal)
    record["occurred_at"] = datetime.fromisoformat(record["occurred_at"])
    return record


def _with_money(record: Mapping[str, Any], kind: type[str] | type[Decimal]) -> dict[str, Any]:
    return {name: kind(record[name]) for name in MONEY if record.get(name) is not None}
