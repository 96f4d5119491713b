"""Reads both sides of a connected shop, and reads differences again: an order may change during the comparison."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

import aiohttp

from aggregates.catalogue import shops_clock
from aggregates.windows import floored
from aggregates.zones import Zone
from insights.settings import Settings
from insights.shop_zones import publish, zone_of
from producers.connect import platforms
from producers.connect.agreement import (
    Agreement,
    Said,
    ShopSide,
    Sold,
    Waiting,
    compared,
    differing,
    explained,
    utc_day,
)
from producers.connect.asking import SECOND, Api, ShopAway, ShopRefuses
from producers.connect.connections import Connection
from producers.connect.memory import progress
from producers.connect.orders import missing_of
from producers.connect.platforms import platform_of
from producers.connect.zones import note_said, zones
from schemas.errors import Misconfigured, Retryable
from warehouse.postgres import opened
from warehouse.sinks import NOT_RESTATED

DAYS: Final = 60
ATTEMPTS: Final = 2  # to learn a zone, before the shop is asked for its orders
OVERLAP: Final = timedelta(minutes=5)  # a reading that is due may take so long
PAUSES_SECONDS: Final = (1.0, 3.0, 9.0)
SALES: Final = """
with lines as (
    select order_id, sum(sales_amount) as sales
    from events.order_lines where {asked} and occurred_at >= %(since)s
    group by order_id
),

charges as (
    select
        *,
        {as_charged} and charged_currency is not null as is_foreign
    from events.orders where {asked} and coalesce(placed_at, occurred_at) >= %(since)s
),

paid_back as (
    select order_id, sum(amount) as refunds, sum(charged_amount) as charged_refunds
    from events.refunds where {asked} group by order_id
)

select
    order_id,
    ops.shop_time(occurred_at, %(shop)s)::date,
    case when is_foreign then charged_total_amount - charged_shipping_amount - charged_tax_amount else sales end,
    case when is_foreign then charged_shipping_amount else shipping_amount end,
    case when is_foreign then charged_tax_amount else tax_amount end,
    coalesce(case when is_foreign then charged_refunds else refunds end, 0),
    case when is_foreign then charged_currency else '' end
from charges inner join lines using (order_id) left join paid_back using (order_id)
"""
"""By order its day and its measures, in the order of the fields of ``Sold``; in the currency that the shop says."""
OF_A_SHOP: Final = "order_id ~ %(ids)s"
OF_ORDERS: Final = "order_id = any(%(ids)s)"
LATE: Final = f"select l.event_id from ops.late_events as l where {NOT_RESTATED}"  # noqa: S608 a constant


class HistoryUnread(Retryable):
    """The shop's history is still being read: most of its orders can't be here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A connected shop's orders of the days since, compared at a time."""

    shop: str
    at: datetime
    since: datetime
    zone: Zone | None
    agreement: Agreement

    @property
    def first_day(self) -> date:
        """The shop's day from which on orders are compared."""
        return day_in(self.zone, self.since)

    @property
    def zone_name(self) -> str:
        """The time zone of the days."""
        return self.zone.name if self.zone else "UTC"


def first_day(connection: Connection, now: datetime, zone: Zone | None, days: int = DAYS) -> datetime:
    """First day that is compared: the last days of the shop, but not before the first day of the orders read."""
    noon = floored(now, "day", zone) + timedelta(hours=12)  # some days last an hour more or less
    return max(connection.since, floored(noon - timedelta(days=days - 1), "day", zone))


def day_in(zone: Zone | None, at: datetime) -> date:
    """The day of the time zone."""
    return zone.wall_clock(at).date() if zone else utc_day(at)


def learn_zone(settings: Settings, connection: Connection) -> str | None:
    """Ask a shop for the zone of its days, and keep that: its name, if it is another than the shop said before.

    Blocks for some seconds. A shop that doesn't answer keeps the zone that is known.
    """

    async def ask() -> str:
        async with aiohttp.ClientSession() as session:
            return (await platforms.api_of(connection, session, attempts=ATTEMPTS).about()).time_zone

    try:
        said = asyncio.run(ask())
    except (ShopAway, ShopRefuses, Misconfigured):
        return None
    known = zones(settings.producers_dir).get(connection.name)
    if known is not None and known.said == said:
        return None
    note_said(settings.producers_dir, connection.name, said)
    return said or None


def compare(
    settings: Settings,
    connection: Connection,
    since: datetime,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Comparison:
    """Both sides of the orders placed since then, and what is known of each that differs.

    Blocks: a request for a hundred orders, and up to 13 seconds for those that differ. Raises HistoryUnread, ShopAway,
    ShopRefuses or PostgresAway.
    """
    if not progress(settings.producers_dir, connection.name).is_history_done:
        raise HistoryUnread(
            f"the history of {connection.name} is still being read, so there is nothing to compare yet: `insights"
            " connect list` shows how far it is, and `insights status` whether the stack runs"
        )
    shop, here = asyncio.run(_both_sides(settings, connection, since, pause))
    found = _known(settings, shop, here, connection, clock)
    return Comparison(
        shop=connection.name, at=clock(), since=since, zone=zone_of(settings, connection.name), agreement=found
    )


def compare_orders(
    settings: Settings,
    connection: Connection,
    since: datetime,
    order_ids: list[str],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Agreement:
    """The same of some orders, at once and as they are. Raises as ``compare`` does."""

    async def ask() -> ShopSide:
        shop = ShopSide(since, settings.currency)
        async with api_of(connection) as api:
            await _ask_again(settings, api, connection, shop, order_ids)
        return shop

    shop = asyncio.run(ask())
    return _known(settings, shop, sold_here(settings, connection, since, order_ids), connection, clock)


def _said_of(settings: Settings, connection: Connection) -> Callable[[bytes], Said]:
    """How the shop's answers are read: by its own days, and by the date of sales that the tables go by."""
    day_of = partial(day_in, zone_of(settings, connection.name))
    return partial(platform_of(connection).said_of, day_of=day_of, by_payment=shops_clock().payment is not None)


async def _both_sides(
    settings: Settings, connection: Connection, since: datetime, pause: Callable[[float], Awaitable[None]]
) -> tuple[ShopSide, dict[str, Sold]]:
    """The shop's side and ours, without what was only read at different times."""
    said_of = _said_of(settings, connection)
    shop = ShopSide(since, settings.currency)
    async with api_of(connection) as api:
        async for page in api.orders(by="date", after=since - SECOND):
            shop.take(map(said_of, page.bodies))
        here = sold_here(settings, connection, since)
        for seconds in PAUSES_SECONDS:
            apart = differing(shop.sold(), here)
            if not apart:
                break
            await pause(seconds)
            await _ask_again(settings, api, connection, shop, apart)
            now = sold_here(settings, connection, since, apart)
            here = {i: sold for i, sold in here.items() if i not in set(apart)} | now
    return shop, here


async def _ask_again(
    settings: Settings, api: Api, connection: Connection, shop: ShopSide, order_ids: list[str]
) -> None:
    """One that the shop lists no more is forgotten."""
    said_of = _said_of(settings, connection)
    shop.forget(order_ids)
    shop.take(said_of(body) for body in await api.named(order_ids) if missing_of(body) is None)


def _known(
    settings: Settings,
    shop: ShopSide,
    here: dict[str, Sold],
    connection: Connection,
    clock: Callable[[], datetime],
) -> Agreement:
    """The comparison, with what is known of each difference."""
    found = compared(shop, here)
    if not found.differences:
        return found
    with opened(settings.postgres_dsn) as postgres:
        late = {event_id for (event_id,) in postgres.execute(LATE)}
    unread_since = clock() - timedelta(minutes=settings.connected_minutes) - OVERLAP
    waiting = Waiting(late_events=late, unread_since=unread_since)
    return explained(found, shop, settings.producers_dir, connection.name, waiting)


@asynccontextmanager
async def api_of(connection: Connection) -> AsyncIterator[Api]:
    """The shop's API, open while it is used."""
    async with aiohttp.ClientSession() as session:
        yield platforms.api_of(connection, session)


def sold_here(
    settings: Settings, connection: Connection, since: datetime, order_ids: Collection[str] | None = None
) -> dict[str, Sold]:
    """What the tables have of the shop's orders placed since then, or of some of them, by the shop's id."""
    prefix = f"{connection.name}-"
    asked = OF_A_SHOP if order_ids is None else OF_ORDERS
    ids = f"^{re.escape(prefix)}[0-9]+$" if order_ids is None else [prefix + each for each in order_ids]
    with opened(settings.postgres_dsn) as postgres:
        publish(postgres, settings)  # both sides go by the same days
        query = SALES.format(asked=asked, as_charged=platform_of(connection).SAYS_AS_CHARGED)
        rows = postgres.execute(query.encode(), {"ids": ids, "since": since, "shop": connection.name}).fetchall()
    return {order_id.removeprefix(prefix): Sold(*sold) for order_id, *sold in rows}
