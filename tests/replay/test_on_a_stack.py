"""Replays on one real stack: equal when it is quiet and when it is busy, unequal when it should be, and swapped in.

Longer than 400 lines, because its tests share one stack, which takes a minute to start.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from aggregates.catalogue import aggregates
from aggregates.render import Engine
from dashboards.model import load
from dashboards.query import Postgres, question
from flink.live_job import JOB_NAME
from insights.engines import engine_of
from insights.settings import PROJECT
from insights.wiring import replay_context
from reconciliation.topic_counts import TopicCounts
from replay import run_history
from replay.check_day import check_day
from replay.context import Context
from replay.explain import explain
from replay.plan_file import ReplayPlan
from replay.planning import NothingToDo, Wish, everything, make_plan
from replay.promote import NotProven, promote, prune, rollback
from replay.restate import restate_late
from replay.run import await_live_job, run
from replay.run_history import NotNow, ReplayBusy, Run, Status
from replay.topic_reading import OffsetsGone
from replay.verify import verify
from schemas.catalogue import avro_events, event
from schemas.errors import Retryable
from spark.task import Task
from tests.conftest import environment_of, wait_until
from tests.e2e.hub import Hub, connect, quiet_hub
from tests.e2e.made_events import made, now

ORDER_PLACED = event("sales.order_placed")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    """A stack with eight hours of a shop, the first six of them final, that is quiet until a test wakes it."""
    with quiet_hub(tmp_path_factory.mktemp("replays"), seed=5, rate=2.0, history="8h") as found:
        found.until(lambda: is_final(found), "windows are final up to two hours ago")
        yield found


def is_final(hub: Hub) -> bool:
    with connect(hub.settings) as connection:
        (until,) = connection.execute(
            "select max(final_until) from ops.finality where aggregate = 'sales_per_minute'"
        ).fetchone() or (None,)
    return until is not None and until > now() - timedelta(hours=2, minutes=10)


@pytest.fixture
def context(hub: Hub) -> Context:
    return replay_context(hub.settings)


def said(text: str) -> None:
    """Nobody listens."""


def computed(hub: Hub, context: Context, plan: ReplayPlan, engine: str = "duckdb") -> Run:
    return run(context, plan, engine_of(hub.settings, engine, said), by="a test", say=said, on_event=lambda event: None)


def proven(hub: Hub, context: Context, plan: ReplayPlan, engine: str = "duckdb") -> Run:
    return verify(context, computed(hub, context, plan, engine).run, say=said)


def hashes(found: Run) -> dict[str, str]:
    assert found.certificate
    return {one["name"]: one["sha256"] for one in found.certificate["aggregates"]}


def sums_of(counts: TopicCounts) -> dict[str, int | None]:
    return {name: getattr(counts, name) for name in ("published", "counted", "duplicate", "late", "dead")}


def problems(found: Run) -> list[Any]:
    assert found.certificate
    return [one for one in found.certificate["aggregates"] if one["mismatches"]]


def test_on_a_quiet_log_both_engines_compute_every_cell_that_is_live_and_touch_no_consumer_group(
    hub: Hub, context: Context
) -> None:
    plan = make_plan(context, Wish(names=everything(), scope="beginning"))
    await_live_job(context, plan, said)
    groups = context.log.committed(JOB_NAME, avro_events())
    of_spark, of_duckdb = (proven(hub, context, plan, engine) for engine in ("local", "duckdb"))
    for found in (of_spark, of_duckdb):
        assert found.status is Status.VERIFIED, problems(found)
        assert found.certificate
        assert {one["name"] for one in found.certificate["aggregates"]} == {a.name for a in aggregates()}
        assert all(not one["excluded"] for one in found.certificate["aggregates"])
        sums = {topic: counts for topic, counts in hub.look().topics.items() if topic in found.certificate["sums"]}
        assert found.certificate["sums"] == {topic: sums_of(counts) for topic, counts in sums.items()}
    assert hashes(of_spark) == hashes(of_duckdb)
    assert context.log.committed(JOB_NAME, avro_events()) == groups
    # In a variable: a client that is collected before its answer has come drops it, and the future never ends.
    admin = AdminClient({**hub.settings.kafka.librdkafka})
    names = {group.group_id for group in admin.list_consumer_groups().result(timeout=30).valid}
    assert not {name for name in names if "replay" in name or "spark" in name}


def test_a_day_that_is_checked_is_equal_and_pruned_or_differs_and_is_kept(hub: Hub, context: Context) -> None:
    row = some_final_row(hub)
    day = f"{row[0]:%Y-%m-%d}"

    def checked() -> Run:
        engine = engine_of(hub.settings, "duckdb", said)
        later = now() + timedelta(days=2)  # the day is over
        return check_day(context, day, later, engine, by="a test", say=said, on_event=on_event)

    def on_event(event: object) -> None:
        if cut:
            raise KeyboardInterrupt

    cut = [True]
    with pytest.raises(KeyboardInterrupt):
        checked()
    cut.clear()
    with context.postgres() as connection:
        (failed,) = [r for r in run_history.newest(connection, 1)]
    assert failed.status is Status.FAILED
    equal = checked()
    with context.postgres() as connection:
        assert run_history.find(connection, failed.run).status is Status.PRUNED
    assert equal.certificate
    assert (equal.status, equal.certificate["result"]) == (Status.PRUNED, "equal"), problems(equal)
    assert {one["name"] for one in equal.certificate["aggregates"]} == {a.name for a in aggregates()}
    assert sum(one["equal"] for one in equal.certificate["aggregates"]) > 0
    set_sales_amount(hub, row, row[3] + 1)
    try:
        differs = checked()
    finally:
        set_sales_amount(hub, row, row[3])
    assert differs.status is Status.DIFFERS
    assert [one["name"] for one in problems(differs)] == ["sales_per_minute"]
    prune(context, differs.run)


def test_while_events_pour_in_all_is_equal_but_the_cells_that_newer_events_touch(hub: Hub, context: Context) -> None:
    hub.shop.start()
    try:
        before = hub.counted()
        hub.until(lambda: hub.counted() > before, "the shop sells")
        plan = make_plan(context, Wish(names=everything(), scope="beginning"))
        ends = {t.event: sum(p.until for p in t.partitions.values()) for t in plan.topics.values()}
        hub.until(
            lambda: (
                sum(e.end for e in context.log.extents(event("web.interaction")).values())
                > ends["web.interaction"] + 20
            ),
            "events come after the plan's",
        )
        found = proven(hub, context, plan)
    finally:
        hub.shop.stop()
    assert found.status is Status.VERIFIED, problems(found)
    assert found.certificate
    excluded = {one["name"]: sum(one["excluded"].values()) for one in found.certificate["aggregates"]}
    assert excluded["interactions"] >= 20
    rows = {one["name"]: one["rows"] for one in found.certificate["aggregates"]}
    assert rows["customer_orders_per_day"] > 0


def sold_of(hub: Hub, order: dict[str, Any]) -> dict[str, Decimal]:
    """What the live tables say was sold of an order's lines, by category, in its minute and its day: both alike."""
    with connect(hub.settings) as connection:
        by_minute, by_day = (
            connection.execute(
                f"select category, sum(sales_amount) from live.{table}"
                f" where region = %s and window_start = date_trunc('{unit}', %s, 'UTC') group by category",
                (order["region"], order["occurred_at"]),
            ).fetchall()
            for table, unit in (("sales_per_minute", "minute"), ("sales_per_day", "day"))
        )
    assert sorted(by_minute) == sorted(by_day)
    return dict(by_minute)


def state_of_order(at: datetime, region: str) -> dict[str, Any]:
    return made(ORDER_PLACED, at) | {"region": region, "version": 1}


def corrected(order: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return order | {"event_id": str(uuid.uuid4()), "version": order["version"] + 1, **changes}


def test_an_order_counts_as_it_now_stands_also_when_it_changes_after_the_plan(hub: Hub, context: Context) -> None:
    order = state_of_order(now(), "made-corrected")
    hub.publish(ORDER_PLACED, order, "counted")
    hub.flush()
    hub.until(lambda: sold_of(hub, order).keys() == {"made-A", "made-B"}, "the order counts")
    hub.come_to_rest()
    plan = make_plan(context, Wish(names=everything(), scope="beginning"))
    moved = corrected(order, lines=[{**order["lines"][0], "category": "made-C"}])
    hub.publish(ORDER_PLACED, moved, "counted")
    hub.flush()
    hub.until(lambda: sold_of(hub, order).keys() == {"made-C"}, "it counts as it now stands, and there alone")
    hub.come_to_rest()
    found = proven(hub, context, plan)
    assert found.status is Status.VERIFIED, problems(found)
    assert found.certificate
    excluded = {one["name"]: sum(one["excluded"].values()) for one in found.certificate["aggregates"]}
    assert excluded["sales_per_minute"] == 3, "where it was, and where it is"
    minute = f"{order['occurred_at']:%Y-%m-%d %H:%M}, made-corrected"
    was, now_is = (explain(context, "sales_per_minute", f"{minute}, {name}") for name in ("made-B", "made-C"))
    assert (was.live, was.computed, was.events) == (None, None, ())
    assert now_is.adds_up
    assert [behind.record["event_id"] for behind in now_is.events] == [moved["event_id"]]
    hub.publish(ORDER_PLACED, corrected(moved, version=7, is_cancelled=True), "counted")
    hub.publish(ORDER_PLACED, corrected(moved, version=6), "counted")  # older than what stands
    hub.flush()
    hub.until(lambda: sold_of(hub, order) == {}, "it is cancelled, and counts nowhere")
    hub.come_to_rest()
    for engine in ("local", "duckdb"):
        found = proven(hub, context, make_plan(context, Wish(names=everything(), scope="beginning")), engine)
        assert found.status is Status.VERIFIED, problems(found)
    assert sold_of(hub, order) == {}


def test_a_late_correction_of_an_order_is_restated_where_the_order_was_and_where_it_is(
    hub: Hub, context: Context
) -> None:
    def restated() -> Run:
        engine = engine_of(hub.settings, "duckdb", said)
        done = restate_late(context, engine, by="a test", say=said, on_event=lambda event: None)
        assert done is not None
        assert done.certificate
        assert done.certificate["late"]["proven"], done.certificate["late"]
        return done

    order = state_of_order(now() - timedelta(days=50), "made-late-correction")
    hub.publish(ORDER_PLACED, order, "late")
    hub.flush()
    hub.come_to_rest()
    runs = [restated()]
    assert sold_of(hub, order).keys() == {"made-A", "made-B"}
    hub.publish(ORDER_PLACED, corrected(order, lines=[{**order["lines"][0], "category": "made-C"}]), "late")
    hub.flush()
    hub.come_to_rest()
    runs.append(restated())
    assert sold_of(hub, order).keys() == {"made-C"}
    for done in reversed(runs):
        rollback(context, done.run, say=said)
    assert sold_of(hub, order) == {}


def some_final_row(hub: Hub) -> tuple[Any, ...]:
    with connect(hub.settings) as connection:
        row = connection.execute(
            "select window_start, region, category, sales_amount from live.sales_per_minute"
            " where window_start < now() - interval '4 hours' order by orders desc, 1, 2, 3 limit 1"
        ).fetchone()
    assert row is not None
    return row


def set_sales_amount(hub: Hub, row: tuple[Any, ...], amount: Decimal) -> None:
    with connect(hub.settings) as connection:
        changed = connection.execute(
            "update live.sales_per_minute set sales_amount = %s where (window_start, region, category) = (%s, %s, %s)",
            (amount, *row[:3]),
        ).rowcount
    assert changed == 1


def sales_amount(hub: Hub, row: tuple[Any, ...]) -> Decimal:
    with connect(hub.settings) as connection:
        found = connection.execute(
            "select sales_amount from live.sales_per_minute where (window_start, region, category) = (%s, %s, %s)",
            row[:3],
        ).fetchone()
    assert found is not None
    return Decimal(found[0])


def test_one_cell_tampered_with_is_found_explained_and_repaired_and_the_repair_can_be_taken_back(
    hub: Hub, context: Context
) -> None:
    row = some_final_row(hub)
    right, wrong = row[3], row[3] + Decimal("0.01")
    set_sales_amount(hub, row, wrong)
    try:
        found = proven(hub, context, make_plan(context, Wish(names=("sales_per_minute",), scope="beginning")))
        assert found.status is Status.DIFFERS
        (one,) = problems(found)
        assert (one["different"], one["only_in_replay"], one["only_in_live"]) == (1, 0, 0)
        assert one["differing_columns"] == {"sales_amount": 1}
        (first,) = one["first_differences"]
        assert first["key"]["region"] == row[1]
        assert (first["here"]["sales_amount"], first["there"]["sales_amount"]) == (str(right), str(wrong))
        key = f'{row[0]:%Y-%m-%d %H:%M}, {row[1]}, "{row[2]}"'
        told = explain(context, "sales_per_minute", key)
        assert not told.adds_up
        assert told.computed
        assert told.computed["sales_amount"] == right
        sold = [line for behind in told.events for line in behind.record["lines"] if line["category"] == row[2]]
        assert sum(line["quantity"] * line["unit_price"] - line["discount_amount"] for line in sold) == right
        with pytest.raises(NotProven, match="differs from the live tables"):
            promote(context, found.run, reason=None, by="a test", say=said)
        assert sales_amount(hub, row) == wrong
        done = promote(context, found.run, reason="somebody wrote into the table", by="a test", say=said)
        assert sales_amount(hub, row) == right
        assert done.changes
        assert done.changes["sales_per_minute"]["by_measure"] == {"sales_amount": "-0.01"}
        assert explain(context, "sales_per_minute", key).adds_up
        rollback(context, found.run, say=said)
        assert sales_amount(hub, row) == wrong
    finally:
        set_sales_amount(hub, row, right)


KILLED = """
import os, signal, sys
from pathlib import Path
from insights.wiring import replay_context
from insights.engines import engine_of
from insights.settings import load_settings
from replay.plan_file import read_plan
from replay.run import await_live_job, run
settings, plan, stop_after = load_settings(), read_plan(Path(sys.argv[1])), int(sys.argv[3])
engine = engine_of(settings, sys.argv[2], print)
engine.chunk_records = 2_000
chunks = 0
def on_event(event):
    global chunks
    if event["event"] == "chunk":
        chunks += 1
        if chunks == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)
print(run(replay_context(settings), plan, engine, by="a test", say=print, on_event=on_event).run)
"""


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param((5,), id="in its middle"),
        pytest.param((1, 5, 9), id="near its beginning, middle and end", marks=pytest.mark.faults),
    ],
)
def test_killed_after_some_chunks_and_run_again_it_has_the_same_rows(
    hub: Hub, context: Context, tmp_path: Path, kills: tuple[int, ...]
) -> None:
    plan = make_plan(context, Wish(names=("customer_orders_per_day", "interactions"), scope="beginning"))
    undisturbed = computed(hub, context, plan)
    path = tmp_path / "plan.yaml"
    again = plan.model_copy(update={"made_at": plan.made_at + timedelta(seconds=1)})
    path.write_text(again.to_yaml())
    environment = {**os.environ, **environment_of(hub.settings)}
    for stop_after, ending in (*((kill, -signal.SIGKILL) for kill in kills), (0, 0)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), "local", str(stop_after)],
            env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == ending, done.stdout + done.stderr
    with context.postgres() as connection:
        (resumed,) = [r for r in run_history.newest(connection, 5) if r.plan_digest == again.digest]
    assert resumed.status is Status.COMPUTED
    assert hashes(verify(context, resumed.run, say=said)) == hashes(verify(context, undisturbed.run, say=said))


def expire_half(hub: Hub) -> dict[int, int]:
    """The log deletes the first half of each partition of orders, as retention would; what it begins with then."""
    context = replay_context(hub.settings)
    extents = context.log.extents(ORDER_PLACED)
    half = {n: max(e.begin, e.end // 2) for n, e in extents.items()}
    admin = AdminClient({**hub.settings.kafka.librdkafka})
    for future in admin.delete_records([TopicPartition(ORDER_PLACED.topic, n, at) for n, at in half.items()]).values():
        future.result(30)
    return half


def test_records_that_the_log_has_deleted_come_from_the_lake_and_join_the_log_by_offset(
    hub: Hub, context: Context
) -> None:
    half = expire_half(hub)
    plan = make_plan(context, Wish(names=("sales_per_minute", "order_lines"), scope="beginning"))
    partitions = plan.topics[ORDER_PLACED.topic].partitions
    for n, begin in half.items():
        lake, log = partitions[n].lake, partitions[n].log
        assert lake == (0, begin)
        assert log is not None
        assert log[0] == begin
    for engine in ("local", "duckdb"):
        found = proven(hub, context, plan, engine)
        assert found.status is Status.VERIFIED, problems(found)


def without_lake(context: Context, folder: Path) -> Context:
    """The same log and tables, with another catalog in a database that has none yet: a lake without a table."""
    elsewhere = dataclasses.replace(
        context.deployment, lake_database="registry", lake_warehouse=(folder / "lake").as_uri()
    )
    return dataclasses.replace(context, deployment=elsewhere)


def test_offsets_that_neither_log_nor_lake_has_are_refused_by_their_ranges(
    hub: Hub, context: Context, tmp_path: Path
) -> None:
    half = expire_half(hub)
    with pytest.raises(OffsetsGone, match=rf"{ORDER_PLACED.topic} partition 0: 0 to {half[0] - 1:,}"):
        make_plan(without_lake(context, tmp_path), Wish(names=("sales_per_minute",), scope="beginning"))


def test_a_second_replay_of_an_aggregate_is_refused_with_the_name_of_the_first(hub: Hub, context: Context) -> None:
    plan = make_plan(context, Wish(names=("refunds_per_day",), scope="beginning"))

    class Meanwhile:
        """Begins a second one while the first computes."""

        name, dialect, reads_log, chunk_records = "duckdb", Engine.DUCKDB, False, 2_000_000

        def compute(self, task: Task, on_event: Any) -> None:
            other = plan.model_copy(update={"made_at": plan.made_at + timedelta(seconds=1)})
            with pytest.raises(ReplayBusy, match=f"a replay of refunds_per_day is running: {task.run}, by a test"):
                computed(hub, context, other)
            engine_of(hub.settings, "duckdb", said).compute(task, on_event)

    done = run(context, plan, Meanwhile(), by="a test", say=said, on_event=lambda event: None)
    assert verify(context, done.run, say=said).status is Status.VERIFIED


def test_postgres_gone_in_mid_run_is_a_clear_end_and_the_run_can_be_taken_up_again(hub: Hub, context: Context) -> None:
    plan = make_plan(context, Wish(names=("refunds_per_day",), scope="beginning"))
    pid = hub.part("postgres").pid
    assert pid is not None
    backends = [pid]

    class Dies:
        """Computes, and then Postgres answers nobody."""

        name, dialect, reads_log, chunk_records = "duckdb", Engine.DUCKDB, False, 2_000_000

        def compute(self, task: Task, on_event: Any) -> None:
            engine_of(hub.settings, "duckdb", said).compute(task, on_event)
            os.kill(backends[0], signal.SIGSTOP)

    try:
        with pytest.raises(Retryable, match="Postgres at"):
            run(context, plan, Dies(), by="a test", say=said, on_event=lambda event: None)
    finally:
        os.kill(pid, signal.SIGCONT)
    hub.checkpoint()
    again = computed(hub, context, plan)
    with context.postgres() as connection:
        runs = [r for r in run_history.newest(connection, 50) if r.plan_digest == plan.digest]
    assert [r.run for r in runs] == [again.run]
    assert verify(context, again.run, say=said).status is Status.VERIFIED


def test_late_events_come_to_count_in_facts_and_aggregates_at_once_and_in_no_other_cell(
    hub: Hub, context: Context, tmp_path: Path
) -> None:
    # Where the machine was slow some of the shop's past came late: it counts from here on, and is in no plan below.
    restate_late(context, engine_of(hub.settings, "duckdb", said), by="a test", say=said, on_event=lambda event: None)
    long_ago = now() - timedelta(days=40)
    first_of_all = [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ]
    orders = [made(ORDER_PLACED, at) for at in (*(long_ago + timedelta(minutes=n) for n in range(20)), *first_of_all)]
    never = made(event("web.interaction"), long_ago) | {
        "session_started_at": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    }
    hub.publish(event("web.interaction"), never, "late")
    for order in orders:
        hub.publish(ORDER_PLACED, order, "late")
    hub.publish(ORDER_PLACED, orders[0], "late")
    hub.flush()
    hub.come_to_rest()
    ids = [order["event_id"] for order in orders]
    facts = "select count(*), count(distinct event_id) from events.order_lines where event_id = any(%s)"
    sold = "select coalesce(sum(sales_amount), 0) from live.sales_per_minute where window_start between %s and %s"
    span = (long_ago - timedelta(days=1), long_ago + timedelta(days=1))
    expire_half(hub)
    with pytest.raises(NothingToDo, match="neither log nor lake has everything published of .*sales.order_placed"):
        make_plan(without_lake(context, tmp_path), Wish(names=everything(), scope="late"))
    printed: list[str] = []
    with connect(hub.settings) as connection:
        assert connection.execute(facts, (ids,)).fetchone() == (0, 0)
        done = restate_late(
            context,
            engine_of(hub.settings, "duckdb", said),
            by="a test",
            say=printed.append,
            on_event=lambda event: None,
        )
        assert [line for line in printed if "web.interaction.v1 partition" in line and "9999-12-31" in line]
        assert done is not None
        assert done.certificate
        assert done.certificate["late"]["proven"]
        assert done.certificate["late"]["events"] >= 24
        assert [one.reason for one in done.plan.left_out if "session_started_at" in one.reason]
        lines = sum(len(order["lines"]) for order in orders)
        assert connection.execute(facts, (ids,)).fetchone() == (lines, 23)
        net = sum(
            line["quantity"] * line["unit_price"] - line["discount_amount"]
            for order in orders[:20]
            for line in order["lines"]
        )
        assert connection.execute(sold, span).fetchone() == (net,)
        nothing = restate_late(
            context, engine_of(hub.settings, "duckdb", said), by="a test", say=said, on_event=lambda event: None
        )
        assert nothing is None
        # What counts now is part of history: a replay from the beginning has it too.
        found = proven(
            hub, context, make_plan(context, Wish(names=("sales_per_minute", "order_lines"), scope="beginning"))
        )
        assert found.status is Status.VERIFIED, problems(found)
        rollback(context, done.run, say=said)
        assert connection.execute(facts, (ids,)).fetchone() == (0, 0)
        assert connection.execute(sold, span).fetchone() == (0,)


def test_a_certificate_is_void_once_another_run_has_changed_what_readers_see(hub: Hub, context: Context) -> None:
    first, second = (
        proven(hub, context, make_plan(context, Wish(names=("refunds_per_day",), scope="beginning"))) for _ in range(2)
    )
    assert (first.status, second.status) == (Status.VERIFIED, Status.VERIFIED)
    promote(context, second.run, reason=None, by="a test", say=said)
    with pytest.raises(
        NotNow, match=f"{second.run} changed the live tables after {first.run} was verified: verify {first.run} again"
    ):
        promote(context, first.run, reason=None, by="a test", say=said)
    verify(context, first.run, say=said)
    promote(context, first.run, reason=None, by="a test", say=said)
    with pytest.raises(NotNow, match=f"{first.run} was promoted over {second.run}"):
        rollback(context, second.run, say=said)
    with pytest.raises(NotNow, match="only a verified run can be promoted"):
        promote(context, first.run, reason=None, by="a test", say=said)
    for run_ in (first, second):
        rollback(context, run_.run, say=said)


def test_a_late_event_that_comes_after_the_plan_hides_no_cell_of_a_final_window(hub: Hub, context: Context) -> None:
    row = some_final_row(hub)
    plan = make_plan(context, Wish(names=("sales_per_minute",), scope="beginning"))
    order = made(ORDER_PLACED, row[0])
    order |= {"region": row[1], "lines": [{**order["lines"][0], "category": row[2]}]}
    hub.publish(ORDER_PLACED, order, "late")
    hub.flush()
    hub.come_to_rest()
    set_sales_amount(hub, row, row[3] + 1)
    try:
        found = proven(hub, context, plan)
    finally:
        set_sales_amount(hub, row, row[3])
    (one,) = problems(found)
    assert (one["different"], one["excluded"]) == (1, {})


def cdnow() -> Path:
    """The file inside the package ``lifetimes``, which is locked in requirements/cdnow.txt and never imported."""
    package = find_spec("lifetimes")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "CDNOW_master.txt"


def bought(path: Path) -> dict[tuple[datetime, str], tuple[int, int, Decimal]]:
    """The file's contents, read without any of the project's code: by day and customer orders, CDs and dollars."""
    found: dict[tuple[datetime, str], tuple[int, int, Decimal]] = {}
    for line in path.read_text().splitlines()[1:]:
        customer, date, cds, dollars = line.split()
        day = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
        orders, units, net = found.get((day, customer), (0, 0, Decimal(0)))
        found[day, customer] = (orders + 1, units + int(cds), net + Decimal(dollars))
    return found


@pytest.mark.nightly
def test_a_real_shops_old_history_imported_into_a_running_system_comes_to_count_to_the_cent(
    hub: Hub, context: Context, tmp_path: Path
) -> None:
    wanted = bought(cdnow())
    # The stack's shop sells in euros: the same figures, in its currency.
    shipped = (PROJECT / "producers" / "mappings" / "cdnow.toml").read_text()
    mapping = tmp_path / "cdnow.toml"
    mapping.write_text(shipped.replace('currency = "USD"', f'currency = "{hub.settings.currency}"'))
    hub.command("produce", "orders", "--from-file", str(cdnow()), "--mapping", str(mapping))
    before = hub.come_to_rest()[ORDER_PLACED.topic]
    assert (before.late or 0) >= 69_659
    query = (
        "select window_start, customer_id, orders, units, sales_amount from live.customer_orders_per_day"
        # Another test has put orders before these years.
        " where window_start between '1997-01-01' and '1998-12-31'"
    )
    with connect(hub.settings) as connection:
        assert connection.execute(query).fetchall() == []
        assert "verified: without them every cell equals the live one" in hub.command("replay", "late")
        rows = connection.execute(query).fetchall()
        found = {(day, customer): tuple(measures) for day, customer, *measures in rows}
        assert found == wanted
        facts = "select count(distinct order_id), sum(quantity), sum(sales_amount) from events.order_lines"
        years = "occurred_at >= '1997-01-01' and occurred_at < '1999-01-01'"
        totals = connection.execute(f"{facts} where {years}").fetchone()
    assert totals == (69_659, 167_881, Decimal("2500315.63"))
    found_again = proven(hub, context, make_plan(context, Wish(names=("customer_orders_per_day",), scope="beginning")))
    assert found_again.status is Status.VERIFIED, problems(found_again)


def test_the_command_line_goes_from_plan_to_promotion_and_reports_each_step(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    day = f"{datetime.now(UTC) - timedelta(hours=5):%Y-%m-%dT%H}:00"
    until = f"{datetime.now(UTC) - timedelta(hours=3):%Y-%m-%dT%H}:00"
    told = hub.command("replay", "plan", "sales_per_minute", "--from", day, "--to", until, "--out", str(path))
    assert "sales.order_placed.v1" in told
    assert "sales_overview" in told
    told = hub.command("replay", "run", str(path), "--engine", "duckdb")
    name = next(line.split()[0] for line in told.splitlines() if line.startswith("r") and line.strip()[1:].isdigit())
    assert f"{name} equals the live tables in every cell" in hub.command("replay", "verify", name)
    assert f"{name} is live;" in hub.command("replay", "promote", name)
    certificate = json.loads(hub.command("replay", "show", name, "--json"))
    assert certificate["result"] == "equal"
    assert certificate["offsets"][ORDER_PLACED.topic].keys() == {"0", "1", "2", "3"}
    assert "All of it holds." in hub.command("audit", "check")
    hub.command("audit", "export", str(tmp_path / "audit"), "--run", name)
    audit = [sys.executable, "-I", "-S", str(PROJECT / "replay" / "audit.py"), str(tmp_path / "audit")]
    key = hub.command("audit", "key").strip()
    done = subprocess.run([*audit, "--key", key], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"{name}: the rows of sales_per_minute.csv are as certified" in done.stdout
    assert "promoted" in hub.command("replay", "list")
    assert "readers see the previous data again" in hub.command("replay", "rollback", name)
    wait_until(lambda: "rolled back" in hub.command("replay", "list"), seconds=30)


def test_what_the_page_shows_of_a_real_run_is_its_record_and_certificate(hub: Hub, context: Context) -> None:
    done = proven(hub, context, make_plan(context, Wish(names=("sales_per_minute", "order_lines"), scope="beginning")))
    assert done.certificate
    dashboard = load(PROJECT / "dashboards" / "replays.yaml")
    page = Postgres(hub.settings.postgres_dsn, connections=1)
    try:
        asked = {card.id: question(dashboard.expanded(card.sql), {"run": done.run}) for card in dashboard.cards}
        shown = {name: page.rows(q) for name, q in asked.items()}
    finally:
        page.close()
    (run_shown,) = [row for row in shown["runs"] if row["run"] == done.run]
    assert (run_shown["status"], run_shown["result"]) == (done.status, done.certificate["result"])
    assert {row["sha256"] for row in shown["compared"]} == set(hashes(done).values())
    assert shown["certificate"][-1]["said"] == done.certificate["sha256"]
    tables = {row["name"]: row for row in shown["live_tables"]}
    assert len(tables) == len(aggregates())
    assert tables["events.order_lines"]["run"] == done.run
    offsets = {(row["topic"], str(row["partition"])): [row["since"], row["until"]] for row in shown["offsets"]}
    assert offsets == {(t, n): ends for t, found in done.certificate["offsets"].items() for n, ends in found.items()}
