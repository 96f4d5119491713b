"""One stack, abused in turn. Whatever a test does, every number of the stack must be exact after it.

Longer than 400 lines, because its tests share that stack.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from flink.live_job import JOB_NAME
from flink.progress import watermarks
from flink.rest import NO_WATERMARK
from insights import stack as embedded
from insights.stack.process_record import read_state
from insights.stack.states import part_states
from insights.wiring import deployment
from schemas.catalogue import Event, avro_events, event
from tests.conftest import own_settings
from tests.e2e import marts, table_contents
from tests.e2e.hub import Hub, assert_exact, connect, open_hub
from tests.e2e.late_story import Story
from tests.e2e.made_events import made, now
from tests.marts import lake
from warehouse.compaction import FEWEST_OF_TODAY
from warehouse.maintenance import Size, sizes

ORDER_PLACED = event("sales.order_placed")
SILENT = event("customers.customer_erased")
SERVERS = ("kafka", "postgres", "registry")
ON_TIME, HORIZON = 40, timedelta(hours=24)
pytestmark = pytest.mark.timeout(1500)  # a dozen restarts, on a machine that others use too


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    settings = own_settings(folder / "home", idle_timeout_seconds=2)
    with ExitStack() as resources:
        yield open_hub(settings, folder, resources, seed=11, rate=10.0, history="1h")


@pytest.fixture(autouse=True)
def shop_ends_with_the_test(hub: Hub) -> Iterator[None]:
    """One that failed leaves no shop that publishes into the next test."""
    yield
    hub.shop.end()


def test_killing_producer_taskmanager_and_jobmanager_in_mid_history_and_live_loses_and_doubles_nothing(
    hub: Hub,
) -> None:
    shop, is_new = hub.shop, not hub.shop.state.exists()
    before = hub.published()
    shop.start()
    hub.until(lambda: shop.is_live or hub.published() >= before + 10_000, "10,000 events of the past are published")
    assert not (is_new and shop.is_live), "the past was too short to be killed in"
    shop.kill()
    before = hub.counted()
    shop.start()
    hub.until(lambda: shop.is_live or hub.counted() >= before + 5_000, "5,000 events are counted")
    hub.checkpoint()
    hub.kill("taskmanager")
    assert hub.restored_from(), "the job did not start from a checkpoint when its TaskManager was back"
    hub.kill("jobmanager")
    assert "/chk-" in hub.restored_from(), "the job did not start from a checkpoint under the new JobManager"
    hub.until(lambda: shop.is_live, "all of the past is published")
    flows(hub, 30)
    shop.kill()
    shop.start()
    hub.until(lambda: shop.is_live, "it is live again")
    flows(hub, 10)
    shop.stop()
    assert_exact(hub)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(SERVERS, id="one after the other"),
        *(pytest.param((part,), id=f"{part} alone", marks=pytest.mark.faults) for part in SERVERS),
    ],
)
def test_servers_killed_under_load_come_back_and_every_number_is_exact(hub: Hub, parts: tuple[str, ...]) -> None:
    hub.shop.start()
    flows(hub, 20)
    engine = hub.part("taskmanager").pid
    for part in parts:
        hub.kill(part)
        if not hub.shop.runs:  # it may give up on a server that it needs at that moment; its supervisor starts it again
            assert "insights produce: " in hub.shop.said, hub.shop.said[-1500:]
            hub.shop.start()
        flows(hub, 20)
        assert hub.part("taskmanager").pid == engine, f"{part} was away, and it cost the engine its process"
    hub.shop.stop()
    assert_exact(hub)


def flows(hub: Hub, events: int) -> None:
    """Wait until so many more events are published, and as many counted."""
    published, counted = hub.published() + events, hub.counted() + events
    hub.until(lambda: hub.published() >= published, f"{events} more events are published")
    hub.until(lambda: hub.counted() >= counted, f"{events} more events are counted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The output around a stop and a start of the job, and how the counts of each topic rose over it."""

    stopped: str
    hold: dict[str, str]
    ran_meanwhile: str | None
    started: str
    hold_afterwards: dict[str, str] | None
    restored_from: str
    ends: dict[str, dict[int, int]]
    rise: dict[str, dict[str, int]]
    wanted: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def restart(hub: Hub) -> Restart:
    """A job stopped with a savepoint and started by `insights up`: before, meanwhile and after, events of all fates.

    ``SILENT`` is a topic that no aggregate counts: nothing but the job itself knows how far it is. Until the job has
    started again one of its partitions speaks of nothing but the past.
    """
    silent = a_late_event_in_a_silent_partition(hub)
    before = hub.come_to_rest()
    ends = {e.topic: table_contents.log_ends(hub.settings, e) for e in avro_events()}
    for e in avro_events():
        if e != SILENT:
            spread_over_all_partitions(hub, e)
    hub.come_to_rest()
    # A job that did not know any longer how far its partitions were would take the late ones for on time.
    stopped = hub.command("flink", "stop")
    hold = json.loads(hub.command("status", "--json"))["hold"]
    hub.publish(SILENT, made(SILENT, long_ago()) | {SILENT.key: silent}, "late")
    wanted = {}
    for number, e in enumerate(avro_events(), start=1):
        # Different for each topic, so that none can stand in for another.
        put_in_duplicates_and_late_ones(hub, e, duplicates=number, late=number + 2)
        for n in range(10):
            hub.publish(e, made(e, now(), n), "counted")
        wanted[e.topic] = {"counted": ON_TIME + 11, "duplicate": number, "late": number + 2, "dead": 0}
    hub.flush()
    ran_meanwhile = hub.rest.active_job(JOB_NAME)
    started = hub.command("up", "--no-producers")
    hold_afterwards, restored_from = json.loads(hub.command("status", "--json"))["hold"], hub.restored_from()
    spread_over_all_partitions(hub, SILENT)
    wanted[SILENT.topic]["late"] += 1
    wanted[ORDER_PLACED.topic]["dead"] += 1
    wanted[ORDER_PLACED.topic]["counted"] += publish_a_file_with_a_bad_row(hub)
    hub.come_to_rest()
    after = json.loads(hub.command("status", "--json"))["topics"]
    return Restart(
        stopped=stopped,
        hold=hold,
        ran_meanwhile=ran_meanwhile,
        started=started,
        hold_afterwards=hold_afterwards,
        restored_from=restored_from,
        ends=ends,
        rise={t: {f: n - asdict(before[t])[f] for f, n in after[t].items()} for t in wanted},
        wanted={t: {"published": sum(fates.values()), **fates} for t, fates in wanted.items()},
    )


def long_ago() -> datetime:
    return now() - HORIZON - timedelta(hours=1)


def a_late_event_in_a_silent_partition(hub: Hub) -> str:
    """Publish one that is late by the other partition's watermark. Returns its key."""
    assert sum(table_contents.log_ends(hub.settings, SILENT).values()) == 0, (
        "one of its partitions must never have spoken"
    )
    speaks, silent = keys_by_partition(hub, event("public.wiki_edited")).values()
    at = long_ago()
    hub.publish(SILENT, made(SILENT, now()) | {SILENT.key: speaks}, "counted")
    hub.flush()
    hub.until(lambda: watermark_ms(hub, SILENT) > at.timestamp() * 1000, "the silent partition holds nothing back")
    hub.publish(SILENT, made(SILENT, at) | {SILENT.key: silent}, "late")
    hub.flush()
    return silent


def keys_by_partition(hub: Hub, like: Event) -> dict[int, str]:
    """A key for each partition of a topic: where it goes in another with as many."""
    assert like.partitions == SILENT.partitions
    found: dict[int, str] = {}
    while len(found) < like.partitions:
        record = made(like, now())
        before = table_contents.log_ends(hub.settings, like)
        hub.publish(like, record, "counted")
        hub.flush()
        after = table_contents.log_ends(hub.settings, like)
        found |= {partition: record[like.key] for partition in after if after[partition] > before[partition]}
    return found


def watermark_ms(hub: Hub, e: Event) -> int:
    job = hub.rest.active_job(JOB_NAME)
    return watermarks(hub.rest, job).get(e.table, NO_WATERMARK) if job else NO_WATERMARK


def test_a_job_stopped_with_a_savepoint_and_started_again_goes_on_as_if_nothing_had_been(
    hub: Hub, restart: Restart
) -> None:
    assert "savepoint-" in restart.stopped
    assert restart.hold["why"] == "stopped"
    assert restart.ran_meanwhile is None, "the job runs again without having been submitted"
    assert "was stopped by" in restart.started
    assert restart.hold_afterwards is None
    assert "savepoint-" in restart.restored_from
    assert_exact(hub)


def test_published_is_counted_and_duplicate_and_late_and_dead_for_every_topic_though_the_job_starts_again(
    restart: Restart,
) -> None:
    for topic, fates in restart.wanted.items():
        assert restart.rise[topic] == fates, f"{topic}: what was put in is on the right"


def test_the_ledger_names_the_late_ones_also_of_a_partition_that_was_silent_when_the_job_started_again(
    hub: Hub, restart: Restart
) -> None:
    """Such a partition is judged by the others, and by that still after the start."""
    assert_ledger_names_the_late_ones(hub, restart.ends)


def spread_over_all_partitions(hub: Hub, e: Event) -> None:
    ends = table_contents.log_ends(hub.settings, e)
    for number in range(ON_TIME):
        hub.publish(e, made(e, now(), number), "counted")
    hub.flush()
    risen = table_contents.log_ends(hub.settings, e)
    assert all(risen[partition] > ends[partition] for partition in ends), f"{e.topic}: a partition got none: {risen}"


def put_in_duplicates_and_late_ones(hub: Hub, e: Event, *, duplicates: int, late: int) -> None:
    within = made(e, now() - HORIZON + timedelta(minutes=30))
    hub.publish(e, within, "counted")
    for _ in range(duplicates):
        hub.publish(e, within, "duplicate")
    for number in range(late - 1):
        twice = made(e, now() - HORIZON - timedelta(hours=1 + number))
        hub.publish(e, twice, "late")
    hub.publish(e, twice, "late")  # a copy of a late one is late


def publish_a_file_with_a_bad_row(hub: Hub) -> int:
    """Through the producer of orders, as a user would; how many rows of it are good."""
    # Orders without an id are named after their source: a file of its own is a source of its own.
    number = random.randrange(10**7)
    source = f"file{number}"
    folder = hub.shop.state.parent.parent / source
    folder.mkdir()
    time = now().replace(microsecond=0)
    at = time.strftime("%Y-%m-%dT%H:%M:%S")
    (folder / "orders.csv").write_text(
        f"customer,at,units,total\n{number}1,{at},3,10.00\n{number}2,{at},none,5.00\n{number}3,{at},1,0.01\n"
    )
    (folder / "mapping.toml").write_text(
        f'source = "{source}"\ndelimiter = ","\nheader = true\ndate_format = "%Y-%m-%dT%H:%M:%S"\n'
        '[columns]\ncustomer_id = "customer"\noccurred_at = "at"\nquantity = "units"\ntotal = "total"\n'
        f'[constants]\nproduct_id = "{folder.name}"\ncategory = "File"\nregion = "{folder.name}"\n'
        'currency = "EUR"\nchannel = "web"\n'
    )
    file, mapping = str(folder / "orders.csv"), str(folder / "mapping.toml")
    hub.command("produce", "orders", "--from-file", file, "--mapping", mapping, "--state", str(folder), ends_with=3)
    said = {"product_id": source, "category": "File", "discount_amount": Decimal(0)}
    for customer, lines in ((f"{number}1", [(2, "3.33"), (1, "3.34")]), (f"{number}3", [(1, "0.01")])):
        goods = [{**said, "quantity": units, "unit_price": Decimal(price)} for units, price in lines]
        order = {"occurred_at": time, "customer_id": customer, "region": source, "lines": goods}
        hub.book.note(ORDER_PLACED, order, "counted")
    hub.book.note_dead(ORDER_PLACED)
    return 2


def assert_ledger_names_the_late_ones(hub: Hub, ends: dict[str, dict[int, int]]) -> None:
    """Each in its place in the log, and nothing else from after ``ends``."""
    with connect(hub.settings) as connection:
        for e in avro_events():
            logged = table_contents.log(hub.settings, e, ends[e.topic])
            wanted = {place: (r.event_id,) for place, r in logged.items() if r.event_id in hub.book.late_ids}
            rows = connection.execute(
                "select kafka_partition, kafka_offset, event_id from ops.late_events where topic = %s", [e.topic]
            )
            found = {(p, o): (i,) for p, o, i in rows if o >= ends[e.topic][p]}
            wrong = table_contents.difference(wanted, found, expected_is="put in", found_is="in the ledger")
            assert not wrong, f"ops.late_events of {e.topic}: {wrong}"


@pytest.mark.faults
def test_a_lake_that_is_tidied_under_load_is_whole_and_a_job_that_starts_again_after_it_commits_nothing_twice(
    hub: Hub,
) -> None:
    """With nothing kept but what a job needs: whatever may expire does."""
    hub.shop.start()
    busy = "events.interaction"
    hub.until(lambda: lake_sizes(hub)[busy].files >= FEWEST_OF_TODAY, f"{busy} has many small files")
    before = lake_sizes(hub)[busy]
    hub.command("lake", "maintain", "--keep-hours", "0")
    after = lake_sizes(hub)[busy]
    assert after.files < before.files
    assert after.snapshots < before.snapshots
    hub.kill("taskmanager")
    flows(hub, 10)
    hub.shop.stop()
    hub.command("flink", "stop")
    hub.command("lake", "maintain", "--keep-hours", "0")
    hub.command("flink", "submit")
    assert "savepoint-" in hub.restored_from()
    assert_exact(hub)


def lake_sizes(hub: Hub) -> dict[str, Size]:
    return sizes(deployment(hub.settings))


def test_stopped_backed_up_lost_and_restored_it_goes_on_from_where_the_data_is(hub: Hub, tmp_path: Path) -> None:
    for e in avro_events():
        hub.publish(e, made(e, now()), "counted")
    hub.flush()
    hub.command("down")
    left = {name: record for name, record in read_state(hub.settings.run_dir).items() if record.pid}
    assert not left, f"down left running: {left}"
    public = hub.command("backup-key", str(tmp_path / "key")).split()[-1]
    hub.command("backup", str(tmp_path / "file"), "--to", public)
    shutil.rmtree(hub.settings.home)
    hub.command("restore", str(tmp_path / "file"), "--key", str(tmp_path / "key"))
    embedded.up(hub.settings, embedded.UpPlan(daemons=False), lambda step: None)
    for e in avro_events():
        hub.publish(e, made(e, now()), "counted")
    hub.flush()
    assert_exact(hub)


@pytest.mark.nightly
def test_a_stack_that_is_backed_up_under_load_runs_again_after_it_and_loses_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.shop.start()
    flows(hub, 10)
    public = hub.command("backup-key", str(tmp_path / "key")).split()[-1]
    printed = hub.command("backup", str(tmp_path / "file"), "--to", public)
    assert re.search(r"file has [\d,]+ files of", " ".join(printed.split()))
    assert all(part.healthy for part in part_states(hub.settings))
    assert "The backup is whole" in hub.command(
        "restore", str(tmp_path / "file"), "--key", str(tmp_path / "key"), "--check"
    )
    flows(hub, 10)
    hub.shop.stop()
    assert_exact(hub)


def test_every_mart_is_what_plain_python_makes_of_the_lake_and_all_change_when_late_events_come_to_count(
    hub: Hub,
) -> None:
    """Last: what a restatement makes count is in no answer key."""
    hub.shop.start()
    hub.until(lambda: hub.shop.is_live, "all of the past is published")
    hub.shop.stop()
    for e in avro_events():
        spread_over_all_partitions(hub, e)
    hub.come_to_rest()
    story = some_story(hub)
    hub.publish(*story.in_time(now()), "counted")
    for e in avro_events():
        put_in_duplicates_and_late_ones(hub, e, duplicates=2, late=3)
    for e, record in story.late():
        hub.publish(e, record, "late")
    publish_a_file_with_a_bad_row(hub)
    hub.flush()
    hub.come_to_rest()

    marts.bring_up_to_date(hub.settings)
    before = marts.assert_as_the_log_says(hub.settings)
    hub.until(lambda: all_final_until(hub) > story.at + timedelta(days=1), "the windows of the story are final")
    assert "r1 is live;" in hub.command("replay", "late", "--engine", "duckdb")
    marts.bring_up_to_date(hub.settings)
    after = marts.assert_as_the_log_says(hub.settings)
    unchanged = [name for name in before if before[name] == after[name]]
    assert not unchanged, f"late events of every kind came to count, and not in {unchanged}"


def some_story(hub: Hub) -> Story:
    """Of the shop's newest order."""
    with connect(hub.settings) as connection:
        log = lake.history(lake.recorded(hub.settings, connection))
    sold = [order for order in log.orders if not order.order_id.startswith("made")]
    newest = max(sold, key=lambda order: (order.at, order.order_id))
    lies = next(m["warehouse"] for m in log.moves if m["product_id"] == newest.lines[0].product_id)
    return Story(order=newest, warehouse=lies, at=now() - timedelta(days=5))


def all_final_until(hub: Hub) -> datetime:
    with connect(hub.settings) as connection:
        (at,) = connection.execute("select min(final_until) from ops.finality").fetchone() or (None,)
    assert isinstance(at, datetime)
    return at
