"""A plan states what is read from where: from the lake what the log no longer has, from the log the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from aggregates.catalogue import aggregate
from replay.log import Extent
from replay.plan_file import ReplayPlan, Stretch
from replay.planning import NothingToDo, Wish, make_plan
from replay.topic_reading import OffsetsGone
from schemas.catalogue import Event, event
from schemas.errors import Misconfigured
from spark.task import Slice
from tests.aggregates.any_events import any_log
from tests.flink.live_on_files import with_database
from tests.replay import own_lake
from tests.replay.duckdb_task import PUBLISHED_AT, archived_rows, slices
from tests.replay.own_lake import OwnContext
from warehouse.tables import make_postgres_tables

ORDERS, MOVES = event("sales.order_placed"), event("inventory.stock_moved")
LOGS = {e.name: records for e, records in ((e, any_log(4, events_a_topic=120)[e.name]) for e in (ORDERS, MOVES))}
ENDS = {name: {piece.partition: piece.until_offset for piece in slices(records)} for name, records in LOGS.items()}
ARRIVED = 20
"""Records of each partition that the lake does not have yet."""


@dataclass
class FakeLog:
    """Where each topic's partitions begin. Nothing in it has a time, or bytes."""

    begins: Mapping[str, int] = field(default_factory=dict)

    def extents(self, e: Event) -> dict[int, Extent]:
        return {n: Extent(begin=self.begins.get(e.name, 0), end=end) for n, end in ENDS[e.name].items()}

    def first_since(self, e: Event, moment: datetime) -> dict[int, int]:
        return {n: self.begins.get(e.name, 0) for n in ENDS[e.name]}

    def records(self, e: Event, pieces: Iterable[Slice]) -> Iterator[object]:
        return iter(())


@pytest.fixture(scope="module")
def quiet(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> OwnContext:
    """Topics of which the lake has all but the newest records."""
    deployment = with_database(new_database())
    made = OwnContext(deployment=deployment, work_dir=tmp_path_factory.mktemp("lake"), code="unknown", texts=())
    with made.postgres() as connection:
        make_postgres_tables(connection)
    for e in (ORDERS, MOVES):
        rows = archived_rows(LOGS[e.name])
        old = [row for row in rows if row["kafka_offset"] < ENDS[e.name][row["kafka_partition"]] - ARRIVED]
        own_lake.archive(made.work_dir, e, old)
    return made


def planned(context: OwnContext, log: FakeLog, wish: Wish) -> ReplayPlan:
    context.__dict__["log"] = log  # a property that is made once
    return make_plan(context, wish)


FROM_BEGINNING = Wish(names=("sales_per_minute", "stock_moves_per_hour"), scope="beginning")


def test_all_is_read_from_the_log_while_it_has_all(quiet: OwnContext) -> None:
    plan = planned(quiet, FakeLog(), FROM_BEGINNING)
    assert {a.name: (a.version, a.fingerprint) for a in plan.aggregates} == {
        name: (aggregate(name).version, aggregate(name).fingerprint) for name in FROM_BEGINNING.names
    }
    assert {name: topic.event for name, topic in plan.topics.items()} == {e.topic: e.name for e in (ORDERS, MOVES)}
    for e in (ORDERS, MOVES):
        topic = plan.topics[e.topic]
        assert (topic.slices("lake"), topic.slices("log")) == ((), slices(LOGS[e.name]))
        assert (topic.records, topic.lake_bytes) == (len(LOGS[e.name]), 0)


def test_what_the_log_no_longer_has_is_read_from_the_lake_and_each_record_once(quiet: OwnContext) -> None:
    plan = planned(quiet, FakeLog(begins={MOVES.name: 10}), FROM_BEGINNING)
    moves, orders = plan.topics[MOVES.topic], plan.topics[ORDERS.topic]
    ends = ENDS[MOVES.name]
    assert {n: (p.lake, p.log) for n, p in moves.partitions.items()} == {
        n: ((0, 10), (10, end)) for n, end in ends.items()
    }
    assert moves.records == len(LOGS[MOVES.name])
    assert moves.lake_bytes > 0
    assert moves.schema_ids == (1,)
    assert orders.slices("lake") == ()


def test_of_newer_windows_only_what_was_published_since_is_read(quiet: OwnContext) -> None:
    since = PUBLISHED_AT.replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
    wish = replace(FROM_BEGINNING, names=("stock_moves_per_hour",), scope="windows", since=since)
    plan = planned(quiet, FakeLog(begins={MOVES.name: 10}), wish)
    assert list(plan.topics) == [MOVES.topic]
    assert plan.aggregates[0].windows == (Stretch(since=since, until=None),)
    # All that the lake has was published before.
    assert plan.topics[MOVES.topic].slices("log") == tuple(
        Slice(partition=n, from_offset=10, until_offset=end) for n, end in ENDS[MOVES.name].items()
    )


def test_records_that_neither_has_are_named(quiet: OwnContext) -> None:
    log = FakeLog(begins={MOVES.name: min(ENDS[MOVES.name].values()) - ARRIVED + 5})
    with pytest.raises(OffsetsGone, match=r"inventory\.stock_moved\.v1 partition 0"):
        planned(quiet, log, FROM_BEGINNING)


def test_an_end_that_was_asked_for_is_where_each_topic_ends(quiet: OwnContext) -> None:
    ends = {e.topic: dict.fromkeys(ENDS[e.name], 7) for e in (ORDERS, MOVES)}
    plan = planned(quiet, FakeLog(), replace(FROM_BEGINNING, ends=ends))
    assert {p.log for topic in plan.topics.values() for p in topic.partitions.values()} == {(0, 7)}
    with pytest.raises(Misconfigured, match="--offsets does not say where to end in inventory.stock_moved.v1"):
        planned(quiet, FakeLog(), replace(FROM_BEGINNING, ends={ORDERS.topic: ends[ORDERS.topic]}))


def test_late_events_are_planned_where_all_their_windows_are_final(quiet: OwnContext) -> None:
    wish = replace(FROM_BEGINNING, names=("stock_moves_per_hour",), scope="late")
    with pytest.raises(NothingToDo, match="no pending late event can be counted"):
        planned(quiet, FakeLog(), wish)
    at = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
    with quiet.postgres() as connection:
        connection.execute(
            "insert into ops.late_events"
            " (topic, kafka_partition, kafka_offset, event_id, occurred_at, watermark, aggregates)"
            " values (%s, 0, 3, 'x', %s, %s, 'stock_moves_per_hour')",
            (MOVES.topic, at, at + timedelta(days=3)),
        )
    with pytest.raises(NothingToDo, match="touches a window that is not final yet"):
        planned(quiet, FakeLog(), wish)
    with quiet.postgres() as connection:
        connection.execute(
            "insert into ops.finality (aggregate, final_until, watermark, checkpoint_id, recorded_at)"
            " values ('stock_moves_per_hour', %s, %s, 1, now())",
            (at + timedelta(days=1), at + timedelta(days=3)),
        )
    plan = planned(quiet, FakeLog(), wish)
    hour = at.replace(minute=0)
    assert [a.windows for a in plan.aggregates] == [(Stretch(since=hour, until=hour + timedelta(hours=1)),)]
    assert (plan.late_events, plan.left_out) == (1, ())
