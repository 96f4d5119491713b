"""Makes a connected shop and the tables agree: the orders that differ are read from the shop again and published.

Nothing is published here, because only the source that reads the shops may publish. It gets a request, publishes the
shop's current answer, order by order, and withdraws orders that the shop no longer has (producers/connect/rereads.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from insights.agreement.compare import Comparison, compare_orders
from insights.settings import Settings
from insights.stack.composition import CONNECTIONS
from insights.stack.states import part_states
from producers.connect import rereads
from producers.connect.agreement import NAMELESS, Agreement, Difference
from producers.connect.connections import Connection
from producers.connect.rereads import Doubt
from schemas.errors import InsightsError, Misconfigured
from schemas.plural import counted

POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
ELSEWHERE_MINUTES: Final = 60  # between runs of late events that something else than the stack schedules
"""For the source to come further by one order, and for the live job to count what was published."""
Say = Callable[[str], None]


class NotReadAgain(InsightsError):
    """The source that follows the shops did not take the request up in time. It is kept."""


def doubts(agreement: Agreement) -> list[Doubt]:
    """The orders that reading them again may fix. If an order's event is late, it is on the log already."""
    unread = [Doubt(order_id, order=True, refunds=True) for order_id in agreement.unread if order_id != NAMELESS]
    return [_doubt(one) for one in agreement.differences if one.cause != "late"] + unread


def _doubt(one: Difference) -> Doubt:
    """A part of the order that is alike on both sides is not published again."""
    if one.here is None or one.there is None:
        return Doubt(one.order_id, order=True, refunds=one.here is None)
    is_refunded_alike = one.here.refunds == one.there.refunds
    is_sold_alike = one.here._replace(refunds=one.there.refunds) == one.there
    return Doubt(one.order_id, order=not is_sold_alike, refunds=not is_refunded_alike)


def repair(
    settings: Settings,
    connection: Connection,
    before: Comparison,
    say: Say,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Have the orders that differ read again, and wait until the tables have them, or can't have. How many they were.

    Blocks: some seconds, and about one for two orders of a shop far away. Raises Misconfigured when the source does
    not run, NotReadAgain, and as ``compare`` does.
    """
    wanted = doubts(before.agreement)
    if not wanted:
        return 0
    if CONNECTIONS not in {part.name for part in part_states(settings) if part.pid is not None}:
        raise Misconfigured(
            "nothing reads the shop: the stack's part connections does not run. `insights up` starts it; then repair"
            " again"
        )
    number = rereads.ask(settings.producers_dir, connection.name, wanted)
    _await_reading(settings, connection, number, say, pause, clock)
    order_ids = [doubt.order_id for doubt in wanted]
    deadline = clock() + PATIENCE_SECONDS
    while clock() < deadline:
        now = compare_orders(settings, connection, before.since, order_ids)
        if all(one.cause in ("late", "rejected") for one in now.differences):
            break
        pause(POLL_SECONDS)
    return len(wanted)


def _await_reading(
    settings: Settings,
    connection: Connection,
    number: int,
    say: Say,
    pause: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    """Blocks until the source has read up to this request."""
    done, since = rereads.read_until(settings.producers_dir, connection.name), clock()
    first = done
    while done < number:
        pause(POLL_SECONDS)
        now = rereads.read_until(settings.producers_dir, connection.name)
        if now > done:
            done, since = now, clock()
            say(f"{counted(done - first, 'order')} read again")
        elif clock() - since > PATIENCE_SECONDS:
            left = counted(number - done, "order")
            raise NotReadAgain(
                f"{left} of {connection.name} could not be read again yet; `insights logs connections` says why. The"
                " request is kept, and done as soon as the shop answers"
            )


def counted_by(settings: Settings, late: Iterable[Difference], now: datetime) -> datetime:
    """When the run of late events has counted these at the latest: their days must be final."""
    days = [day for one in late for side in (one.here, one.there) if side for day in (side.day,)]
    newest = max((datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days), default=now)
    final = newest + timedelta(days=1, hours=settings.horizon_hours)
    return max(now, final) + timedelta(minutes=settings.restate_late_minutes or ELSEWHERE_MINUTES)
