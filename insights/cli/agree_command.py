"""``insights agree``: a connected shop's own orders against our tables, to the cent."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.cli.terminal_table import Column, TerminalTable
from insights.settings import Settings, load_settings
from schemas.errors import Misconfigured
from schemas.plural import counted

if TYPE_CHECKING:
    from producers.connect.agreement import Agreement, Difference, Sold, Totals
    from producers.connect.connections import Connection

SHOWN = 20
SALES = """
with orders as (
    select order_id, min(occurred_at) as placed_at, sum(sales_amount) as sales
    from events.order_lines where order_id ~ %(ids)s and occurred_at >= %(since)s
    group by order_id
),

paid_back as (
    select order_id, sum(amount) as refunds from events.refunds where order_id ~ %(ids)s group by order_id
)

select order_id, (placed_at at time zone 'UTC')::date, sales, coalesce(refunds, 0)
from orders left join paid_back using (order_id)
"""
ShopName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Its name in `insights connect list`. Default: the only one.")
]
Days = Annotated[int, typer.Option("--days", metavar="N", min=1, help="Compare orders placed in the last N days.")]


def agree(name: ShopName = None, days: Days = 60) -> None:
    """Compare a connected shop's own orders with the tables, order by order, to the cent.

    Asks the shop's API for all orders of these days. Ends with 1 when an order differs.

    Example: insights agree bikes --days 60
    """
    from producers.connect.connections import Connections

    settings = load_settings()
    connection = Connections(settings.producers_dir).get(name or the_only_one(settings))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = max(connection.since, today - timedelta(days=days - 1))
    with runtime.progressing("comparing"):
        found = compare(settings, connection, since)
    show(found, connection, since)
    if not found.is_complete:
        raise typer.Exit(1)


def the_only_one(settings: Settings) -> str:
    """The connected shop's name. Raises Misconfigured when there is none, or more than one."""
    from producers.connect.connections import names

    found = names(settings.producers_dir)
    if len(found) != 1:
        raise Misconfigured(
            f"name one of the connected shops: {', '.join(found)}"
            if found
            else "no shop is connected; `insights connect woocommerce` connects one"
        )
    return found[0]


def compare(settings: Settings, connection: Connection, since: datetime) -> Agreement:
    """Both sides of the orders placed since then. Blocks. Raises ShopAway, ShopRefuses or PostgresAway."""
    from producers.connect.agreement import compared, differing, reasons
    from producers.connect.platforms import platform_of

    there, unread = platform_of(connection).sold_in_shop(asyncio.run(orders_of(connection, since)))
    here = sold_here(settings, connection, since)
    asked = [order_id for order_id in differing(there, here) if order_id in there]
    return compared(there, here, reasons(settings.producers_dir, connection.name, asked), unread)


async def orders_of(connection: Connection, since: datetime) -> list[bytes]:
    """What the shop's API says of each order placed since then."""
    import aiohttp

    from producers.connect.asking import SECOND
    from producers.connect.platforms import platform_of

    async with aiohttp.ClientSession() as session:
        api = platform_of(connection).opened(session, connection)
        return [body async for page in api.orders(by="date", after=since - SECOND) for body in page.bodies]


def sold_here(settings: Settings, connection: Connection, since: datetime) -> dict[str, Sold]:
    """What the tables have of the shop's orders placed since then, by the shop's id."""
    from producers.connect.agreement import Sold
    from warehouse.postgres import opened

    prefix = f"{connection.name}-"
    asked = {"ids": f"^{re.escape(prefix)}[0-9]+$", "since": since}
    with opened(settings.postgres_dsn) as postgres:
        rows = postgres.execute(SALES, asked).fetchall()
    return {order_id.removeprefix(prefix): Sold(day, sales, refunds) for order_id, day, sales, refunds in rows}


def show(found: Agreement, connection: Connection, since: datetime) -> None:
    """The days that differ, the orders behind them, and the verdict."""
    apart = {day: both for day, both in found.days().items() if both[0] != both[1]}
    if apart:
        runtime.show(days_table(apart))
        runtime.say("")
    if found.differences:
        runtime.show(orders_table(found.differences))
        runtime.say("")
    if found.unread:
        runtime.say(f"The shop's answer could not be read for {', '.join(found.unread[:SHOWN])}.")
    orders = counted(len(found.there), "order")
    period = f"placed since {since:%Y-%m-%d} (UTC)"
    if found.is_complete:
        sales = sum((sold.sales for sold in found.there.values()), Decimal(0))
        refunds = sum((sold.refunds for sold in found.there.values()), Decimal(0))
        runtime.say(
            f"{connection.name} agrees: {orders} {period}, sales {sales:,.2f}, refunds {refunds:,.2f}, equal order by"
            " order to the cent.",
            style="bold green",
        )
        return
    differing = counted(len(found.differences) + len(found.unread), "order")
    runtime.say(
        f"{connection.name} does not agree: {differing} of {len(found.there):,} {period} differ, on"
        f" {counted(len(apart), 'day')}.",
        style="bold red",
    )


def days_table(days: dict[date, tuple[Totals, Totals]]) -> TerminalTable:
    """Each day with the shop's totals and ours."""
    sheet = TerminalTable(
        "days that differ",
        *(Column(), Column(name="orders", right=True), Column(name="sales", right=True)),
        Column(name="refunds", right=True),
        note="the shop's total / ours",
    )
    for day, (there, here) in days.items():
        sheet.add(
            f"{day:%Y-%m-%d}",
            f"{there.orders:,} / {here.orders:,}",
            f"{there.sales:,.2f} / {here.sales:,.2f}",
            f"{there.refunds:,.2f} / {here.refunds:,.2f}",
        )
    return sheet


def orders_table(differences: tuple[Difference, ...]) -> TerminalTable:
    """The first of the orders that differ."""
    more = len(differences) - SHOWN
    sheet = TerminalTable(
        "orders that differ",
        *(Column(), Column(name="differs"), Column(name="in the shop", right=True), Column(name="here", right=True)),
        Column(name="known of it", flows=True),
        note=f"and {more:,} more" if more > 0 else "sales, without tax and shipping",
    )
    for one in differences[:SHOWN]:
        sides = (f"{side.sales:,.2f}" if side else "–" for side in (one.there, one.here))
        sheet.add(one.order_id, one.what, *sides, one.why)
    return sheet
