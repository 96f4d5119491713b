"""The scraper's state between observations, in SQLite: what was last seen of each page and product, and what is unsent.

An observation is stored here, with its event id, before it is published, and removed after Kafka has acknowledged it.
If the scraper is killed in between, it publishes the observation again under the same id, which counts once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from producers import state
from producers.scraping.fetching import NOTHING, Validators

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
create table if not exists profiles (shop text primary key, name text not null) without rowid;
create table if not exists drifts (shop text primary key, url text not null) without rowid;
create table if not exists unsent (place integer primary key, event_id text not null unique, record text not null);
"""
# Columns that a file of an earlier version lacks.
ADDED: Final = {
    "pages": {
        "last_modified": "text",
        "shop": "text",
        "product_id": "text",
        "is_readable": "integer not null default 1",
    },
    "products": {"record": "blob", "is_gone": "integer not null default 0", "missing_since": "real"},
}
PAGE: Final = "page"  # in a kept record: the address that was read, which need not be the canonical one
PAGE_OF: Final = f"select json_extract(record, '$.{PAGE}') from unsent where event_id = ?"  # noqa: S608 a constant
OF_PAGE: Final = "(shop, product_id) = (select p.shop, p.product_id from pages p where p.url = ?)"
NO_PRODUCT: Final = "update pages set is_readable = 0, etag = null, last_modified = null where url = ?"
MONEY: Final = ("price", "list_price", "previous_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was last published of a product."""

    price: Decimal
    content_hash: str
    published_at: datetime
    is_gone: bool = False


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
        self._lock = path.with_name(f"{path.name}.lock")
        self._database = state.opened(path)
        self._database.executescript(SCHEMA)
        for table, columns in ADDED.items():
            has = {row[1] for row in self._database.execute(f"pragma table_info({table})")}
            for name, kind in columns.items():
                if name not in has:
                    self._database.execute(f"alter table {table} add column {name} {kind}")

    def known(self, shop: str, product_id: str) -> Known | None:
        """The last publication of a product, or None at its first sight."""
        row = self._database.execute(
            "select price, content_hash, published_at, is_gone from products where shop = ? and product_id = ?",
            (shop, product_id),
        ).fetchone()
        if row is None:
            return None
        at = datetime.fromtimestamp(row[2], UTC)
        return Known(price=Decimal(row[0]), content_hash=row[1], published_at=at, is_gone=bool(row[3]))

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

    def validators(self, url: str, not_before: datetime) -> Validators:
        """What to ask with whether the page has changed; nothing if its product is to be published again anyhow."""
        asked = (
            "select etag, last_modified from pages join products using (shop, product_id)"
            " where url = ? and published_at > ?"
        )
        row = self._database.execute(asked, (url, not_before.timestamp())).fetchone()
        return Validators(*row) if row else NOTHING

    def profile(self, shop: str) -> str | None:
        """The name of the profile that the shop was read with."""
        row = self._database.execute("select name from profiles where shop = ?", (shop,)).fetchone()
        return str(row[0]) if row else None

    def keep_profile(self, shop: str, name: str) -> None:
        """Read the shop with this profile from now on. With another than before, its pages are asked for in full."""
        if self.profile(shop) == name:
            return
        self._database.execute("begin")
        self._database.execute("update pages set etag = null, last_modified = null where shop = ?", (shop,))
        self._database.execute("insert or replace into profiles values (?, ?)", (shop, name))
        self._database.execute("commit")

    def had_product(self, url: str) -> bool:
        """Whether a product was read from the page when it was looked at last."""
        row = self._database.execute("select is_readable from pages where url = ?", (url,)).fetchone()
        return bool(row and row[0])

    def has_products_of(self, shop: str) -> bool:
        """Whether a product was read from any page of this shop."""
        asked = "select 1 from pages where shop = ? and is_readable limit 1"
        return self._database.execute(asked, (shop,)).fetchone() is not None

    def unlisted(self, shop: str, listed: Collection[str]) -> list[str]:
        """Pages of the shop with a product that is not gone, which are not among ``listed``."""
        rows = self._database.execute(
            "select url from pages join products using (shop, product_id) where shop = ? and not is_gone order by url",
            (shop,),
        )
        return [url for (url,) in rows.fetchall() if url not in listed]

    def unchanged(self, url: str) -> None:
        """The page is still what it was, and has its product."""
        self._database.execute(f"update products set missing_since = null where {OF_PAGE}", (url,))  # noqa: S608 a constant

    def doubtful(self, url: str) -> None:
        """It is not known whether the page is still there: its product counts as missing from the next time on only."""
        self._database.execute(f"update products set missing_since = null where {OF_PAGE}", (url,))  # noqa: S608 a constant

    def missing(self, url: str, at: datetime) -> None:
        """The site no longer has the page, or no product on it. It is asked for in full from now on."""
        self._database.execute("begin")
        self._missed(url, at)
        self._database.execute(NO_PRODUCT, (url,))
        self._database.execute("commit")

    def _missed(self, url: str, at: datetime) -> None:
        asked = f"update products set missing_since = coalesce(missing_since, ?) where {OF_PAGE}"  # noqa: S608
        self._database.execute(asked, (at.timestamp(), url))

    def vanished(self, shop: str, before: datetime) -> list[dict[str, Any]]:
        """The last observation of each product that is missing since ``before`` or longer, and not yet gone."""
        rows = self._database.execute(
            "select record from products where shop = ? and not is_gone and missing_since < ? and record is not null"
            " order by product_id",
            (shop, before.timestamp()),
        )
        return [_read(zlib.decompress(blob).decode()) for (blob,) in rows.fetchall()]

    def live(self, shop: str) -> int:
        """How many products of the shop are not gone."""
        asked = "select count(*) from products where shop = ? and not is_gone"
        return int(self._database.execute(asked, (shop,)).fetchone()[0])

    def looked(
        self,
        url: str,
        validators: Validators,
        at: datetime,
        seen: Mapping[str, Any],
        observation: Mapping[str, Any] | None,
    ) -> None:
        """Keep what was ``seen`` on the page, and the observation when there is something to publish.

        A page that could not be read before is removed: at once, or when its observation is sent.
        """
        self._database.execute("begin")
        self._missed(url, at)  # unless what is seen there is the same product
        product = (seen["shop"], seen["product_id"])
        self._database.execute("update products set missing_since = null where shop = ? and product_id = ?", product)
        self._database.execute(
            "insert or replace into pages (url, etag, last_modified, read_at, shop, product_id)"
            " values (?, ?, ?, ?, ?, ?)",
            (url, *validators, at.timestamp(), *product),
        )
        if observation is None:
            self._database.execute("delete from broken where url = ?", (url,))
        else:
            self._publish(url, observation, at)
        self._database.execute("commit")

    def gone(self, observation: Mapping[str, Any], at: datetime) -> None:
        """Keep the observation of a product that the shop no longer has."""
        self._database.execute("begin")
        self._publish(observation["url"], observation, at)
        product = (observation["shop"], observation["product_id"])
        self._database.execute("update products set is_gone = 1 where shop = ? and product_id = ?", product)
        self._database.execute("commit")

    def _publish(self, url: str, observation: Mapping[str, Any], at: datetime) -> None:
        self._note(observation, at)
        values = (observation["event_id"], _written({**observation, PAGE: url}))
        self._database.execute("insert into unsent (event_id, record) values (?, ?)", values)

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
        record = zlib.compress(_written(o).encode())
        values = (o["shop"], o["product_id"], str(o["price"]), o["content_hash"], at.timestamp(), record)
        self._database.execute(
            "insert or replace into products (shop, product_id, price, content_hash, published_at, record)"
            " values (?, ?, ?, ?, ?, ?)",
            values,
        )
        priced = (o["shop"], o["product_id"], o["currency"], str(o["price"]))
        self._database.execute("insert or replace into prices values (?, ?, ?, ?)", priced)

    def broke(self, page: Broken) -> None:
        """Keep a page that could not be read for the dead letters, unless its last content was the same."""
        self._database.execute("begin")
        self._database.execute(
            NO_PRODUCT,
            (page.url,),
        )
        self._database.execute(f"update products set missing_since = null where {OF_PAGE}", (page.url,))  # noqa: S608
        self._broke(page)
        self._database.execute("commit")

    def drifted(self, shop: str, page: Broken) -> None:
        """Keep a page as the example of why a shop is not published: once, until a round comes to its end.

        What is known of the page stays, so that it is judged again in the next round.
        """
        self._database.execute("begin")
        if self._database.execute("insert or ignore into drifts values (?, ?)", (shop, page.url)).rowcount:
            self._broke(page)
        self._database.execute("commit")

    def recovered(self, shop: str) -> None:
        """A round came to its end: the next drift is an alarm again. One product is published anew, to end the old."""
        self._database.execute("begin")
        example = self._database.execute("delete from drifts where shop = ? returning url", (shop,)).fetchall()
        if example:
            self._database.execute("delete from broken where sent and url = ?", example[0])
            one = "select shop, product_id from pages where shop = ? and is_readable limit 1"
            again = f"update products set published_at = 0 where not is_gone and (shop, product_id) = ({one})"  # noqa: S608
            self._database.execute(again, (shop,))
        self._database.execute("commit")

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

    def alone(self) -> AbstractContextManager[None]:
        """Blocks while another process with the same file is in here."""
        return state.alone(self._lock)

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
