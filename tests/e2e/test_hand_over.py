"""A new version of an aggregate takes over under load, and nobody who reads it sees a gap; so does a new aggregate."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from aggregates.catalogue import Aggregate, aggregate, read_aggregate
from flink import handover
from flink.job_control import all_run, newest_snapshot
from flink.live_job import JOB_NAME
from insights.settings import PROJECT
from insights.wiring import deployment
from replay import run_history
from schemas.errors import Misconfigured
from tests.conftest import own_settings, wait_until
from tests.e2e import table_contents
from tests.e2e.hub import Hub, assert_exact, connect, open_hub
from tests.e2e.made_events import now
from warehouse import versions

HORIZON = timedelta(hours=2)
SECOND = "insights-live-sales_per_minute-v2"
THIRD = "insights-live-orders_per_minute-v1"
LARGEST = "largest_line_amount"
NEW_TOML = """
description = "Orders by minute and region."
sink = "live.orders_per_minute"
inputs = ["sales.order_placed"]
window = "minute"
key = ["window_start", "region"]

[columns]
window_start = { type = "timestamp", doc = "Start of the minute, UTC." }
region = { type = "string", doc = "The order's region." }
orders = { type = "count", doc = "Orders placed." }
"""
NEW_SQL = """
with orders as (
    select
        {{ window_start('minute', 'occurred_at') }} as window_start,
        region,
        order_id
    from order_placed_lines
)

select
    window_start,
    region,
    count(distinct order_id) as orders
from orders
group by
    window_start,
    region
"""
pytestmark = pytest.mark.timeout(1500)

COPIED = (
    "aggregates",
    "dashboards",
    "flink",
    "insights",
    "processes",
    "producers",
    "reconciliation",
    "replay",
    "schemas",
    "spark",
    "warehouse",
)
LINKED = (".venv", ".venv-flink", ".venv-spark", "bootstrap.py", "pyproject.toml", "requirements")
FROM_FACTS = f"""
select date_trunc('minute', occurred_at, 'UTC'), region, category, max(quantity * unit_price) as {LARGEST}
from events.order_lines group by 1, 2, 3
"""  # noqa: S608
NEW_FROM_FACTS = """
select date_trunc('minute', occurred_at, 'UTC'), region, count(distinct order_id)
from events.order_lines group by 1, 2
"""
LONG_CLOSED = """
select count(*), sum(orders), sum(sales_amount) from live.sales_per_minute where window_start < %s and region <> 'made'
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hand-over")
    hours = HORIZON // timedelta(hours=1)
    # Not shorter: a partition that is not read for so long while the past comes in is judged by the others.
    settings = own_settings(folder / "home", idle_timeout_seconds=20, horizon_hours=hours)
    with ExitStack() as resources:
        yield open_hub(settings, folder, resources, seed=12, rate=3.0, history="4h")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Aggregate:
    """sales_per_minute, version 2: one more column, and not at the end, so that the view can't just be replaced."""
    folder = tmp_path_factory.mktemp("aggregates") / "sales_per_minute"
    shutil.copytree(aggregate("sales_per_minute").folder, folder)
    orders = "    count(distinct order_id)"
    write(folder / "query.sql", orders, f"    {{{{ money('max(gross_amount)') }}}} as {LARGEST},\n{orders}")
    write(folder / "aggregate.toml", "window = ", "version = 2\nwindow = ")
    column = f'{LARGEST} = {{ type = "money", doc = "The largest line." }}'
    write(folder / "aggregate.toml", "\norders = ", f"\n{column}\norders = ")
    return read_aggregate(folder)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Aggregate:
    """An aggregate that no live job computes."""
    folder = tmp_path_factory.mktemp("new-aggregates") / "orders_per_minute"
    folder.mkdir()
    (folder / "aggregate.toml").write_text(NEW_TOML)
    (folder / "query.sql").write_text(NEW_SQL)
    return read_aggregate(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, second: Aggregate, new: Aggregate) -> Path:
    """The project of somebody who has written version 2, and the new aggregate."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in LINKED:
        (folder / name).symlink_to(PROJECT / name)
    shutil.rmtree(folder / "aggregates" / second.name)
    for a in (second, new):
        shutil.copytree(a.folder, folder / "aggregates" / a.name)
    return folder


def write(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {old}"
    file.write_text(text.replace(old, new))


@pytest.fixture
def handed_over(hub: Hub, second: Aggregate, project: Path, tmp_path: Path) -> None:
    """Version 2 is what readers see, and the job that writes it runs: the first test's work, or done here."""
    if seen_version(hub) == 2:
        return
    hub.shop.start()
    hub.until(lambda: hub.shop.is_live, "all of the past is published")
    hub.until(lambda: is_recent(handover_line(hub, second)), "windows of the past are final")
    run = computed(hub, second, project, tmp_path / "v2.yaml")
    hub.command("replay", "verify", run, project=project)
    hub.command("replay", "promote", run, project=project)
    hub.shop.stop()


class Reader:
    """Asks for windows that nothing changes any more, all the while; a wait for a lock of 100 ms is an error."""

    def __init__(self, hub: Hub, closed: datetime) -> None:
        self._hub, self._closed = hub, closed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.answers: list[tuple[object, ...]] = []
        self.error = ""

    def _read(self) -> None:
        with connect(self._hub.settings) as connection:
            connection.execute("set lock_timeout = '100ms'")
            while not self._stop.wait(0.02):
                try:
                    self.answers += connection.execute(LONG_CLOSED, (self._closed,)).fetchall()
                except psycopg.Error as error:
                    self.error = self.error or f"after {len(self.answers)} answers: {error}"

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(30)


def swap(hub: Hub, to: Aggregate, version: int, run: str | None) -> None:
    """As a promotion does it: again and again until no reader holds the view."""

    def done() -> bool:
        with psycopg.connect(hub.settings.postgres_dsn) as connection:
            try:
                handover.swap(connection, to, version, run)
            except psycopg.errors.LockNotAvailable:
                connection.rollback()
                return False
        return True

    wait_until(done, seconds=60, what=f"version {version} is swapped in")


def seen_version(hub: Hub, name: str = "sales_per_minute") -> int | None:
    with connect(hub.settings) as connection:
        return versions.seen_version(connection, name)


def await_caught_up(hub: Hub, v2: Aggregate) -> None:
    hub.until(lambda: handover.caught_up(deployment(hub.settings), v2)[0], f"version {v2.version} has caught up")


def test_a_second_version_takes_over_with_its_history_under_load_and_readers_see_no_gap(
    hub: Hub, second: Aggregate, project: Path, tmp_path: Path
) -> None:
    target, plan = deployment(hub.settings), str(tmp_path / "v2.yaml")
    hub.shop.start()
    hub.until(lambda: hub.shop.is_live, "all of the past is published")
    hub.until(lambda: is_recent(handover_line(hub, second)), "windows of the past are final")
    with Reader(hub, now() - timedelta(minutes=3)).reading() as reader:
        wait_until(lambda: len(reader.answers) > 20, what="the reader reads")
        hub.command("replay", "plan", "sales_per_minute", "--from-beginning", "--out", plan, project=project)
        hub.command("replay", "run", plan, "--engine", "duckdb", project=project)
        # It only has a column more: what both versions have is equal, cell by cell.
        assert "equals the live tables" in hub.command("replay", "verify", "r1", project=project)
        said = hub.command("replay", "promote", "r1", project=project)
        assert "has written what the main job had read" in said
        assert seen_version(hub) == 2
        hub.command("replay", "rollback", "r1", project=project)
        assert seen_version(hub) == 1
        await_caught_up(hub, second)
        swap(hub, second, 2, "r1")
        seen = len(reader.answers)
        wait_until(lambda: len(reader.answers) > seen + 20 or reader.error, what="the reader reads on")
    assert not reader.error, reader.error
    assert len(set(reader.answers)) == 1, f"closed windows changed: {set(reader.answers)}"
    with connect(hub.settings) as connection:
        history = "select count(*) from versions.sales_per_minute_v2 where window_start < now() - interval '2 hours'"
        (inserted,) = connection.execute(history).fetchone() or (0,)
        assert inserted > 100, "there must be history before the line"
    with pytest.raises(Misconfigured, match="readers see version 2 of sales_per_minute"):
        handover.retire(target, second, 2)
    hub.shop.stop()
    await_caught_up(hub, second)
    assert_exact(hub)
    assert_second_is_exact(hub)


def test_the_first_version_is_retired_and_the_state_of_all_else_is_kept(
    hub: Hub, second: Aggregate, handed_over: None
) -> None:
    target = deployment(hub.settings)
    with pytest.raises(Misconfigured, match="still written"):
        handover.drop_version(target, second, 1)
    hub.shop.start()
    handover.retire(target, second, 1)
    assert "savepoint-" in hub.restored_from()
    job = hub.rest.active_job(JOB_NAME)
    handover.retire(target, second, 1)
    assert hub.rest.active_job(JOB_NAME) == job, "to retire it twice is to retire it once"
    handover.drop_version(target, second, 1)
    hub.shop.stop()
    await_caught_up(hub, second)
    assert_exact(hub)
    assert_second_is_exact(hub)


def test_a_new_aggregate_comes_with_its_history_by_a_replay_and_a_job_from_there(
    hub: Hub, new: Aggregate, project: Path, tmp_path: Path
) -> None:
    """And no job reads the log from its beginning."""
    hub.shop.start()
    hub.until(lambda: hub.shop.is_live, "all of the past is published")
    hub.until(lambda: is_recent(handover_line(hub, new)), "windows of the past are final, as others read their topics")
    main = hub.rest.active_job(JOB_NAME)
    assert "orders_per_minute: new in aggregates/, not in a live job; `insights replay` adds it with its history" in (
        hub.command("flink", "submit", project=project)
    )
    run = computed(hub, new, project, tmp_path / "new.yaml")
    said = hub.command("replay", "verify", run, project=project)
    assert "orders_per_minute is new" in said
    assert "there is no live table to compare with" in said
    said = hub.command("replay", "promote", run, project=project)
    assert "orders_per_minute is new: readers see no rows of it until it is complete" in said
    assert "a live job takes over version 1 from there" in said
    assert f"{THIRD} has written what the main job had read" in said
    assert hub.rest.active_job(JOB_NAME) == main, "the main job runs on, undisturbed"
    assert seen_version(hub, new.name) == 1
    assert rows_before_the_line(hub, new) > 50, "there must be history before the line"

    hub.command("replay", "rollback", run, project=project)
    assert seen_version(hub, new.name) is None
    assert rows_before_the_line(hub, new) == 0
    await_caught_up(hub, new)
    swap(hub, new, 1, run)

    hub.shop.stop()
    await_caught_up(hub, new)
    assert_exact(hub)
    assert_new_is_exact(hub, new)
    # From now on there is a table to compare with.
    run = computed(hub, new, project, tmp_path / "again.yaml")
    assert "equals the live tables in every cell" in hub.command("replay", "verify", run, project=project)


def computed(hub: Hub, of: Aggregate, project: Path, plan: Path) -> str:
    """A run that has computed all windows: its name."""
    hub.command("replay", "plan", of.name, "--from-beginning", "--out", str(plan), project=project)
    hub.command("replay", "run", str(plan), "--engine", "duckdb", project=project)
    with connect(hub.settings) as connection:
        (newest, *_) = run_history.newest(connection, 1)
    return newest.run


def rows_before_the_line(hub: Hub, of: Aggregate) -> int:
    with connect(hub.settings) as connection:
        query = f"select count(*) from {of.sink} where window_start < now() - interval '2 hours'"
        (number,) = connection.execute(query.encode()).fetchone() or (0,)
    return int(str(number))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(("jobmanager",), id="of the JobManager", marks=pytest.mark.faults),
        pytest.param(("taskmanager", "jobmanager"), id="of both", marks=pytest.mark.faults),
    ],
)
def test_all_jobs_are_back_after_kills_and_every_number_is_exact_and_windows_go_on_becoming_final(
    hub: Hub, second: Aggregate, handed_over: None, parts: tuple[str, ...]
) -> None:
    before = final_until(hub)
    hub.shop.start()
    hub.until(lambda: newest_snapshot(deployment(hub.settings), SECOND), "the second job has a checkpoint")
    for part in parts:
        hub.kill(part)
        hub.until(lambda: all_run(deployment(hub.settings)), "all jobs run")
    hub.until(lambda: final_until(hub) > before, "more windows of the second version are final")
    hub.shop.stop()
    await_caught_up(hub, second)
    assert_exact(hub)
    assert_second_is_exact(hub)


def final_until(hub: Hub) -> datetime:
    with connect(hub.settings) as connection:
        query = "select final_until from ops.finality where aggregate = 'sales_per_minute'"
        (at,) = connection.execute(query).fetchone() or (None,)
    assert isinstance(at, datetime)
    return at


def test_a_job_from_the_beginning_takes_all_in_and_leaves_the_folders_versions(
    hub: Hub, second: Aggregate, handed_over: None
) -> None:
    said = hub.command("flink", "submit")
    assert "sales_per_minute: version 1 in aggregates/, version 2 is live: `insights replay` hands over" in said
    hub.command("flink", "submit", "--from-beginning")
    assert not {SECOND, THIRD} & hub.rest.active_jobs().keys()
    with connect(hub.settings) as connection:
        assert versions.seen_version(connection, "sales_per_minute") == 1
        for gone in ("versions.sales_per_minute_v2", "versions.orders_per_minute_v1", "live.orders_per_minute"):
            assert versions.kind_of(connection, gone) is None, gone
    assert_exact(hub)


def handover_line(hub: Hub, of: Aggregate) -> datetime | None:
    try:
        return handover.line(deployment(hub.settings), of)
    except handover.NotReady:
        return None


def is_recent(line: datetime | None) -> bool:
    return line is not None and line > now() - HORIZON - timedelta(minutes=3)


def assert_second_is_exact(hub: Hub) -> None:
    with connect(hub.settings) as connection:
        wanted = {row[:3]: row[3:] for row in connection.execute(FROM_FACTS)}
        rows = connection.execute(f"select window_start, region, category, {LARGEST} from live.sales_per_minute")
        wrong = table_contents.difference(wanted, {row[:3]: row[3:] for row in rows}, expected_is="from facts")
    assert not wrong, wrong
    assert wanted


def assert_new_is_exact(hub: Hub, new: Aggregate) -> None:
    with connect(hub.settings) as connection:
        wanted = {row[:2]: row[2:] for row in connection.execute(NEW_FROM_FACTS)}
        found = table_contents.table(connection, new)
    wrong = table_contents.difference(wanted, found, expected_is="from facts")
    assert not wrong, wrong
    assert wanted
