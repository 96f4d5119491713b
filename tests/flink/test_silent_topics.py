"""A topic that is silent follows those that are counted with it, if late events wait for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from flink.rest import NO_WATERMARK
from flink.silent_topics import ASK_SECONDS, SilentTopics
from warehouse.postgres import Connection
from warehouse.tables import make_postgres_tables

ORDERS, VISITS = "sales.order_placed", "web.interaction"
TOGETHER = [(VISITS, ORDERS)]
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
IDLE = 30.0


@pytest.fixture
def connection(new_database: Callable[[], str]) -> Iterator[Connection]:
    with psycopg.connect(new_database(), autocommit=True) as found:
        make_postgres_tables(found)
        yield found


class Watched:
    """What became of the topics, asked as often as one may, every ``ASK_SECONDS``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._now = 0.0
        self._topics = SilentTopics(IDLE, clock=lambda: self._now)

    def after(self, visits: datetime | None, orders: datetime | None) -> dict[str, datetime]:
        """By topic how far it is to be taken to be, a while later, when they have reached this."""
        self._now += ASK_SECONDS
        read = {VISITS: visits, ORDERS: orders}
        reached = {n: int(at.timestamp() * 1000) if at else NO_WATERMARK for n, at in read.items()}
        self._topics.step(self._connection, TOGETHER, reached)
        return dict(self._connection.execute("select topic, reached from ops.silent_topics").fetchall())


def late_order(connection: Connection) -> None:
    connection.execute("insert into ops.late_events values ('sales.order_placed.v1', 0, 7, 'e', now(), now(), 'a')")


@pytest.mark.parametrize("visits", [None, NOON - 20 * MINUTE], ids=["never an event", "events of before"])
def test_where_a_late_event_waits_a_silent_topic_goes_as_far_as_the_other_one(
    connection: Connection, visits: datetime | None
) -> None:
    late_order(connection)
    watched = Watched(connection)
    assert watched.after(visits, NOON) == {}, "whether it is silent is not known yet"
    assert watched.after(visits, NOON) == {"web.interaction.v1": NOON}
    assert watched.after(visits, NOON + MINUTE) == {"web.interaction.v1": NOON + MINUTE}
    assert watched.after(NOON + MINUTE, NOON + MINUTE) == {}, "it has followed"


def test_without_a_late_event_no_topic_goes_further_than_its_own_events(connection: Connection) -> None:
    """A shop with a tracker may connect its orders later, and their history must not be late by that."""
    watched = Watched(connection)
    assert [watched.after(NOON, None) for _ in range(4)] == [{}] * 4
    late_order(connection)
    connection.execute("insert into ops.restated_events values ('sales.order_placed.v1', 0, 7, 'run')")
    assert watched.after(NOON, None) == {}, "that one is counted"


def test_a_topic_whose_history_is_being_read_is_not_silent(connection: Connection) -> None:
    late_order(connection)
    watched = Watched(connection)
    year_ago = NOON - timedelta(days=365)
    assert [watched.after(year_ago + n * MINUTE, NOON) for n in range(4)] == [{}] * 4
