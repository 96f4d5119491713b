"""``insights agree``: compares a connected shop's own orders with our tables, to the cent; records and repairs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings
from schemas.errors import InsightsError, Misconfigured, Retryable
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.agreement.compare import Comparison
    from producers.connect.connections import Connection

DAYS = 60
ShopName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="The shop's name in `insights connect list`. Not needed if only one shop is connected."
    ),
]
Days = Annotated[int, typer.Option("--days", metavar="N", min=1, help="Compare orders placed in the last N days.")]
RepairIt = Annotated[
    bool,
    typer.Option(
        "--repair", metavar="", help="Fetch the orders that differ from the shop once more, and publish them."
    ),
]
Due = Annotated[
    bool,
    typer.Option("--due", metavar="", help="Compare each connected shop that has not been compared for a day."),
]


class NotCompared(Retryable):
    """A shop that is due could not be compared."""


def agree(name: ShopName = None, days: Days = DAYS, repair: RepairIt = False, due: Due = False) -> None:
    """Compare a connected shop's own orders with the tables, order by order, to the cent.

    Reads all orders of these days from the shop's API, compares them, and
    records the result. Exits with code 1 if an order differs. The stack runs
    this comparison every day.

    Example: insights agree bikes --repair
    """
    from insights.agreement.compare import first_day
    from insights.shop_zones import zone_of
    from producers.connect.connections import Connections

    settings = load_settings()
    if due:
        if name or repair:
            raise Misconfigured("--due compares every shop that is due, and repairs none: leave out the name or --due")
        agree_due(settings)
        return
    connection = Connections(settings.producers_dir).get(name or the_only_one(settings))
    learn_zone(settings, connection)
    since = first_day(connection, datetime.now(UTC), zone_of(settings, connection.name), days)
    done = compare_and_note(settings, connection, since)
    show(done)
    if repair and done.agreement.result != "equal":
        done = repair_and_note(settings, connection, done)
    if done.agreement.result == "different":
        raise typer.Exit(1)


def the_only_one(settings: Settings) -> str:
    """The connected shop's name. Raises Misconfigured when there is none, or more than one."""
    from producers.connect.connections import names

    found = names(settings.producers_dir)
    if len(found) != 1:
        raise Misconfigured(
            f"name one of the connected shops: {', '.join(found)}"
            if found
            else "no shop is connected; `insights connect shopify` or `insights connect woocommerce` connects one"
        )
    return found[0]


def agree_due(settings: Settings) -> None:
    """Compare and record each shop that is due. One after the other; one that is away does not keep the others.

    Raises NotCompared naming those that could not be compared, and PostgresAway.
    """
    from insights.agreement import record
    from insights.agreement.compare import HistoryUnread, first_day
    from insights.shop_zones import zone_of
    from producers.connect.connections import Connections, names
    from warehouse.postgres import opened

    now, folder, problems = datetime.now(UTC), settings.producers_dir, []
    note_shops(settings)
    with opened(settings.postgres_dsn) as postgres:
        due = [name for name in names(folder) if record.is_due(postgres, name, now)]
    for name in due:
        try:
            connection = Connections(folder).get(name)
            learn_zone(settings, connection)
            zone = zone_of(settings, name)
            done = compare_and_note(settings, connection, first_day(connection, now, zone))
        except HistoryUnread as unread:
            runtime.say(str(unread))
        except InsightsError as error:
            problems.append(f"{name}: {error}")
        else:
            say_verdict(done)
    if problems:
        raise NotCompared("; ".join(problems))


def learn_zone(settings: Settings, connection: Connection) -> None:
    """Ask the shop for the time zone of its days, and have the tables know it. Raises PostgresAway."""
    from insights.agreement.compare import learn_zone
    from insights.shop_zones import unknown_zone_note

    if zone := learn_zone(settings, connection):
        runtime.say(f"{connection.name} says that its days are those of {zone}.")
        if note := unknown_zone_note(settings, connection.name):
            runtime.say(note, style="yellow")
    note_shops(settings)


def note_shops(settings: Settings) -> None:
    """Write down for the page and the alerts which shops are connected, their days, and what they asked about persons.

    Raises PostgresAway.
    """
    from insights.agreement import record
    from insights.privacy.waiting import note_waiting
    from insights.shop_zones import publish
    from producers.connect.connections import addresses
    from warehouse.postgres import opened

    with opened(settings.postgres_dsn, autocommit=False) as postgres:
        record.note_shops(postgres, addresses(settings.producers_dir))
        publish(postgres, settings)
        note_waiting(postgres, settings.producers_dir)


def compare_and_note(settings: Settings, connection: Connection, since: datetime) -> Comparison:
    """Compare a shop and record what came of it, also when it could not be reached. Raises as ``compare`` does."""
    from insights.agreement import record
    from insights.agreement.compare import HistoryUnread, compare
    from warehouse.postgres import PostgresAway, opened

    try:
        with runtime.progressing("comparing"):
            done = compare(settings, connection, since)
    except (HistoryUnread, PostgresAway):
        raise
    except InsightsError as error:
        with opened(settings.postgres_dsn, autocommit=False) as postgres:
            record.note_failure(postgres, connection.name, datetime.now(UTC), str(error))
        raise
    with opened(settings.postgres_dsn, autocommit=False) as postgres:
        record.note(postgres, done)
    return done


def repair_and_note(settings: Settings, connection: Connection, before: Comparison) -> Comparison:
    """Repair by reading again, compare once more, and show the remaining differences. Raises as ``repair`` does."""
    from insights.agreement.repair import repair
    from insights.cli import agree_views

    runtime.say("")
    with runtime.progressing("reading again") as say:
        asked = repair(settings, connection, before, say)
    done = compare_and_note(settings, connection, before.since) if asked else before
    runtime.say(
        f"{counted(asked, 'order was', 'orders were')} read from the shop again. Before:"
        f" {agree_views.tally(before.agreement)}; after: {agree_views.tally(done.agreement)}."
    )
    runtime.say("")
    show(done)
    say_when_late_count(settings, done)
    return done


def say_when_late_count(settings: Settings, done: Comparison) -> None:
    """Until when the orders are counted whose events are late."""
    from insights.agreement.repair import counted_by

    late = [one for one in done.agreement.pending if one.cause == "late"]
    if late:
        by = counted_by(settings, late, datetime.now(UTC))
        runtime.say(
            f"{counted(len(late), 'order is', 'orders are')} on the log but late: the hourly run for late events"
            f" counts {'it' if len(late) == 1 else 'them'} once the days are final, by {by:%Y-%m-%d %H:%M} UTC."
            " `insights replay late` counts what is ready now."
        )


def show(done: Comparison) -> None:
    """The days that differ, the orders behind them, and the verdict."""
    from insights.cli import agree_views

    found = done.agreement
    if apart := agree_views.days_apart(found):
        runtime.show(agree_views.days_table(apart))
        runtime.say("")
    if found.differences:
        runtime.show(agree_views.orders_table(found.different + found.pending))
        runtime.say("")
    for order_id, reason in list(found.unread.items())[: agree_views.SHOWN]:
        runtime.say(f"The shop's answer for order {order_id} can't be read: {reason}")
    say_verdict(done)


def say_verdict(done: Comparison) -> None:
    """In a line or two, over how many orders."""
    from insights.cli import agree_views

    style = {"equal": "bold green", "pending": "yellow", "different": "bold red"}[done.agreement.result]
    runtime.say(agree_views.verdict(done), style=style)
