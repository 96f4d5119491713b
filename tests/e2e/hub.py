"""A whole stack, the shop that runs against it as a process of its own, and what its tables must come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import requests

from flink.live_job import JOB_NAME
from flink.rest import FlinkRest, FlinkUnavailable, JobFailed
from insights import stack as embedded
from insights.settings import PROJECT, Settings
from insights.stack.control import StackNotUp
from insights.status import Status, watching
from producers.answer_key import Answers, answers
from producers.publisher import Publisher
from reconciliation.topic_counts import TopicCounts
from schemas.catalogue import Event, avro_events, events
from schemas.codec import Record
from schemas.errors import InsightsError
from schemas.registry import Registry
from tests.conftest import environment_of, own_settings, wait_until
from tests.e2e import table_contents
from tests.e2e.made_events import Book, Fate, Row

T = TypeVar("T")
# For a machine that others use too; what is well is seen within a fraction of it.
PATIENCE_SECONDS = 400
# A look asks every part of the stack, and takes a tenth of a second of a processor: from what is looked at.
LOOK_SECONDS = 0.5


class Shop:
    """The synthetic shop's process; the same state folder over all its lives."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        seed: int,
        rate: float,
        history: str,
        python: str = sys.executable,
        project: Path = PROJECT,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.state = folder / "shop.sqlite"
        self._log = folder / "log.jsonl"
        self._project = project
        self._command = [
            *(python, "-m", "producers.main", "shop", "--kafka", str(settings.kafka)),
            *("--registry", settings.registry_url, "--state", str(folder), "--seed", str(seed)),
            *("--rate", str(rate), "--history", history),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_live(self) -> bool:
        """Whether this life of it has published all of the past."""
        return '"event": "live"' in self.said

    @property
    def said(self) -> str:
        """What this life of it has logged."""
        return self._log.read_text()[self._log_from :] if self._log.exists() else ""

    def start(self) -> None:
        assert not self.runs
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(self._project)}
            self._process = subprocess.Popen(self._command, cwd=self._project, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        assert self.runs, f"the shop ended by itself: {self.said[-1500:]}"
        self._process.kill()
        self._process.wait(60)

    def end(self) -> None:
        """Kill it if it runs."""
        if self.runs:
            self.kill()

    def stop(self) -> None:
        """As a supervisor does; then all that it published is acknowledged and in its answer key."""
        assert self._process is not None
        # Before that a signal ends it at once.
        wait_until(lambda: '"event": "started"' in self.said or not self.runs, what="the shop has started")
        assert self.runs, f"the shop ended by itself: {self.said[-1500:]}"
        self._process.terminate()
        assert self._process.wait(90) == 0, self.said[-1500:]


class Hub:
    """The stack under test. Whatever is published, through ``shop`` or ``publish``, is expected in every table."""

    def __init__(self, settings: Settings, look: Callable[[], Status], shop: Shop, book: Book) -> None:
        self.settings = settings
        self.look = look
        self.shop = shop
        self.book = book
        self.rest = FlinkRest(settings.flink_url)
        self._publisher: Publisher | None = None

    # What goes in

    def publish(self, event: Event, record: Record, fate: Fate) -> None:
        """Publish an event whose fate is known. On the log after ``flush``."""
        if self._publisher is None:
            self._publisher = Publisher(self.settings.kafka, Registry(self.settings.registry_url), client_id="e2e")
        self._publisher.publish(event, record)
        self.book.note(event, record, fate)

    def flush(self) -> None:
        if self._publisher is not None:
            self._publisher.flush(PATIENCE_SECONDS)

    # What happens to it

    def until(self, condition: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
        """The first true value; a server that is away for now makes it false."""

        def calmly() -> T | None:
            try:
                return condition()
            except (FlinkUnavailable, JobFailed):
                return None

        return wait_until(calmly, seconds=seconds, what=what, every=LOOK_SECONDS)

    def part(self, name: str) -> embedded.PartState:
        return next(part for part in embedded.part_states(self.settings) if part.name == name)

    def kill(self, name: str) -> None:
        """Kill -9 a part, and wait until the supervisor has it back and the job has taken a checkpoint since."""
        killed = self.part(name).pid
        assert killed is not None, f"{name} does not run"
        os.kill(killed, signal.SIGKILL)

        def back() -> bool:
            part = self.part(name)
            return part.pid not in (None, killed) and part.healthy

        self.until(back, f"{name} is back; its state: {self.part(name)}")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Have one taken that begins after now, and wait for it: what is down or starting again can't take one."""
        now_ms = int(time.time() * 1000)

        def taken() -> bool:
            if job := self.rest.active_job(JOB_NAME):
                self.rest.checkpoint(job)
                newest = self.rest.newest_checkpoint(job)
            return bool(job and newest and newest.triggered_at_ms > now_ms)

        self.until(taken, f"a checkpoint of the live job that began after {now_ms} ({self.job_story()})")

    def job_story(self) -> str:
        """The newest exception of the job, for a test's message."""
        try:
            job = self.rest.active_job(JOB_NAME)
            return self.rest.why_failed(job) if job else "there is no live job"
        except InsightsError as error:
            return str(error)

    def restored_from(self) -> str:
        """Path of the snapshot that the job last started from, or an empty text when it started from nothing."""

        def newest() -> dict[str, Any] | None:
            # A job that is just starting has no statistics of checkpoints yet.
            job = self.rest.active_job(JOB_NAME)
            told = requests.get(f"{self.settings.flink_url}/jobs/{job}/checkpoints", timeout=30).json()
            return told.get("latest") if job else None

        found = wait_until(newest, what="Flink has the job's checkpoints")
        return str((found.get("restored") or {}).get("external_path") or "")

    def published(self) -> int:
        """Records on all Avro topics; 0 while Kafka is away."""
        topics = self.look().topics
        return sum(topics[e.topic].published or 0 for e in avro_events())

    def counted(self) -> int:
        topics = self.look().topics
        return sum(topics[e.topic].counted or 0 for e in avro_events())

    def come_to_rest(self) -> dict[str, TopicCounts]:
        """Wait until everything published has its fate, in tables and in the lake; then the fates by topic."""
        self.until(self._rests, "every part is well and published = counted + duplicate + late + dead")
        # What was flushed after the last checkpoint would be done again if the job had just failed unseen.
        self.checkpoint()
        self.until(self._rests, "so it is after another checkpoint")
        for event in events():
            self.until(partial(self._archived, event), f"the lake has all of {event.topic}")
        return dict(self.look().topics)

    def _rests(self) -> bool:
        seen = self.look()
        well = all(part.healthy for part in seen.parts) and all(job.state == "RUNNING" for job in seen.jobs)
        return well and not seen.away and all(counts.unaccounted == 0 for counts in seen.topics.values())

    def _archived(self, event: Event) -> bool:
        return table_contents.lake_rows(self.settings, event) >= sum(
            table_contents.log_ends(self.settings, event).values()
        )

    # What must come of it

    def expected(self) -> dict[str, dict[Row, Row]]:
        """Rows of every live table, by aggregate: the shop's answer key, and the book's next to it."""
        keys = [self.book.answers(), self._shops_answers()]
        rows: dict[str, dict[Row, Row]] = {a.name: {} for a in table_contents.live_aggregates()}
        for name, merged in rows.items():
            for key in keys:
                shared = merged.keys() & key.get(name, {}).keys()
                assert not shared, f"two answer keys have a row of {name} for {min(shared, key=str)}"
                merged.update(key.get(name, {}))
        return rows

    def expected_counted(self) -> dict[str, int]:
        """How many events must have counted, by topic."""
        counted = {e.topic: self.book.fates[e.topic]["counted"] for e in avro_events()}
        for (topic, _), (number,) in self._shops_answers()["events_per_day"].items():
            if topic in counted:
                counted[topic] += number
        return counted

    def _shops_answers(self) -> Answers:
        return answers(self.shop.state)

    def command(self, *arguments: str, project: Path = PROJECT, ends_with: int = 0) -> str:
        """What ``insights …`` prints, of this project or of a copy of it."""
        done = subprocess.run(
            [sys.executable, "-m", "insights", *arguments],
            env={**os.environ, **environment_of(self.settings), "PYTHONPATH": str(project)},
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == ends_with, f"insights {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


def open_hub(settings: Settings, folder: Path, resources: ExitStack, **shop: Any) -> Hub:
    """A stack without daemons, up. ``resources`` bring it down."""
    steps: list[str] = []
    resources.callback(embedded.down, settings, lambda step: None)
    try:
        embedded.up(settings, embedded.UpPlan(daemons=False), lambda step: steps.append(f"{step.name} {step.detail}"))
    except StackNotUp as error:
        pytest.fail(f"the stack did not come up: {error}\n" + "\n".join(steps[-20:]))
    book = Book(folder / "book.sqlite")
    resources.callback(book.close)
    process = Shop(settings, folder / "shop", **shop)
    resources.callback(process.end)
    return Hub(settings, resources.enter_context(watching(settings)), process, book)


@contextmanager
def quiet_hub(
    folder: Path, elsewhere: Mapping[str, str] | None = None, *, idle_timeout_seconds: int = 20, **shop: Any
) -> Iterator[Hub]:
    """A stack with a shop's past and a horizon of two hours, that is quiet until a test wakes it.

    ``elsewhere`` are settings of what it uses and does not run itself.
    """
    # Not shorter: a partition that is not read for so long while the past comes in is judged by the others, and late.
    times = {"idle_timeout_seconds": idle_timeout_seconds, "horizon_hours": 2}
    settings = own_settings(folder / "home", **times, **(elsewhere or {}))
    with ExitStack() as resources:
        found = open_hub(settings, folder, resources, **shop)
        found.shop.start()
        found.until(lambda: found.shop.is_live, "the past is published")
        found.shop.stop()
        found.come_to_rest()
        yield found


def connect(settings: Settings) -> psycopg.Connection[Row]:
    return psycopg.connect(settings.postgres_dsn, autocommit=True)


def assert_exact(hub: Hub) -> None:
    """Everything, at rest: tables against answer keys and facts, topics' sums against what was put in, lake and log."""
    fates = hub.come_to_rest()
    problems = [*_wrong_fates(hub, fates), *_wrong_tables(hub), *_wrong_lake(hub)]
    assert not problems, "\n\n".join(problems)


def _wrong_fates(hub: Hub, fates: dict[str, TopicCounts]) -> list[str]:
    problems = []
    for topic, counted in hub.expected_counted().items():
        put_in, found = hub.book.fates[topic], fates[topic]
        wanted = (counted, put_in["late"], put_in["dead"])
        if wanted != (found.counted, found.late, found.dead):
            problems.append(
                f"{topic} should have counted {wanted[0]:,}, late {wanted[1]:,}, dead {wanted[2]:,}: {found}"
            )
        if (found.duplicate or 0) < put_in["duplicate"]:
            problems.append(f"{topic} should have {put_in['duplicate']:,} duplicates at least: {found}")
    return problems


def _wrong_tables(hub: Hub) -> list[str]:
    expected, problems = hub.expected(), []
    with connect(hub.settings) as connection:
        for aggregate in table_contents.live_aggregates():
            found = table_contents.table(connection, aggregate)
            if wrong := table_contents.difference(expected[aggregate.name], found, found_is="in the table"):
                problems.append(f"{aggregate.sink} and the answer key: {wrong}")
            if aggregate.name in table_contents.FROM_FACTS:
                facts = table_contents.from_facts(connection, aggregate)
                if wrong := table_contents.difference(facts, found, expected_is="from facts", found_is="in the table"):
                    problems.append(f"{aggregate.sink} and the facts: {wrong}")
        problems += _wrong_facts(hub, connection)
    return problems


def _wrong_facts(hub: Hub, connection: psycopg.Connection[Row]) -> list[str]:
    problems = []
    counted = hub.expected_counted()
    for fact, topic in (
        ("customers", "customers.customer_changed.v1"),
        ("interactions", "web.interaction.v1"),
        ("vehicle_positions", "public.vehicle_moved.v1"),
    ):
        (rows,) = connection.execute(f"select count(*) from events.{fact}").fetchone() or (0,)
        if rows != counted[topic]:
            problems.append(f"events.{fact} has {rows:,} rows for {counted[topic]:,} events")
    for fact in ("order_lines", "refunds", "customers", "interactions", "product_observations"):
        query = f"select event_id from events.{fact} where event_id = any(%s)"
        if there := connection.execute(query, [list(hub.book.late_ids)]).fetchall():
            problems.append(f"events.{fact} has {len(there):,} late events, {there[0][0]} for one")
    return problems


def _wrong_lake(hub: Hub) -> list[str]:
    problems = []
    for event in events():
        more = ("event_id", "schema_id") if event.format == "avro" else ()
        rows = table_contents.lake(hub.settings, event, *more)
        problems += [
            f"the lake's events.{event.table}, {problem}"
            for problem in table_contents.lake_problems(rows, table_contents.log_ends(hub.settings, event))
        ]
        if without := [row for row in rows if more and not row["schema_id"]]:
            problems.append(
                f"the lake's events.{event.table} has {len(without):,} rows without a schema id: {without[0]}"
            )
        if event.name == "sales.order_placed":
            problems += _unlike_the_log(hub, event, rows)
    return problems


def _unlike_the_log(hub: Hub, event: Event, rows: list[dict[str, Any]]) -> list[str]:
    logged = table_contents.log(hub.settings, event)
    in_log = {place: (r.event_id, r.schema_id) for place, r in logged.items()}
    in_lake = {(r["kafka_partition"], r["kafka_offset"]): (r["event_id"], r["schema_id"]) for r in rows}
    wrong = table_contents.difference(in_log, in_lake, expected_is="in the log", found_is="in the lake")
    problems = [f"the lake's events.{event.table} and the log: {wrong}"] if wrong else []
    if odd := [place for place, r in logged.items() if r.schema_id != r.header_id]:
        problems.append(f"{event.topic}: the header's schema id is not the record's at {odd[0]}, of {len(odd):,}")
    return problems
