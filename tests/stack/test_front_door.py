"""The commands against a real stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog
from typer.testing import CliRunner, Result

from insights.cli.main import app
from insights.settings import Settings
from insights.status import status
from schemas.catalogue import event, events

RUNNER = CliRunner()
LETTERS = event("ops.dead_letter").topic
EDITS = event("public.wiki_edited").topic


@pytest.fixture
def run(stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in stack_environment.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: RUNNER.invoke(app, list(arguments))


def test_status_gives_programs_everything_that_they_rely_on(run: Callable[..., Result], stack: Settings) -> None:
    shown = run("status", "--json")
    assert (shown.exit_code, shown.stderr) == (0, "")
    found = json.loads(shown.stdout)
    assert set(found) == {
        "endpoints",
        "currency",
        "topics",
        "jobs",
        "freshness_seconds",
        "final_until",
        "marts",
        "canary",
        "hold",
    }
    assert set(found["topics"]) == {e.topic for e in events()}
    for counts in found["topics"].values():
        assert set(counts) == {"published", "counted", "duplicate", "late", "dead"}
        assert all(isinstance(number, int) for number in counts.values())
    (job,) = found["jobs"]
    assert job["state"] == "RUNNING"
    assert found["endpoints"]["kafka"] == str(stack.kafka)


def test_the_addresses_that_status_gives_open_postgres_and_the_lake(run: Callable[..., Result]) -> None:
    where = json.loads(run("status", "--json").stdout)["endpoints"]
    with psycopg.connect(where["postgres"]) as connection:
        assert connection.execute("select count(*) from live.sales_per_minute").fetchone() is not None
    with closing(load_catalog("lake", **where["lake"])) as lake:
        assert ("events", "order_placed") in lake.list_tables("events")


def test_status_shows_people_every_part(run: Callable[..., Result]) -> None:
    shown = run("status").stdout
    for part in ("kafka", "postgres", "registry", "jobmanager", "taskmanager"):
        assert part in shown


def test_up_again_changes_nothing_and_reports_it(run: Callable[..., Result], stack: Settings) -> None:
    before = (stack.run_dir / "supervisor.json").read_text()
    shown = run("up", "--no-producers")
    assert shown.exit_code == 0, shown.output
    assert "Everything is already running" in shown.stdout
    assert stack.flink_url in shown.stdout
    assert (stack.run_dir / "supervisor.json").read_text() == before


def test_the_registry_holds_every_contract(run: Callable[..., Result]) -> None:
    assert "compatible with the registry" in run("schemas", "check").stdout
    assert "sales.order_placed" in run("schemas", "register").stdout


def test_a_log_is_shown_from_its_end(run: Callable[..., Result]) -> None:
    shown = run("logs", "kafka", "--lines", "2")
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) == 2


def dead_letter(stack: Settings, origin: str) -> None:
    producer = Producer({**stack.kafka.librdkafka})
    producer.produce(LETTERS, value=b"?", key=b"key", headers=[("__connect.errors.topic", origin.encode())])
    assert producer.flush(30) == 0


def test_a_dead_letter_counts_as_published_and_dead_for_the_topic_it_was_for(stack: Settings) -> None:
    before = status(stack).topics
    for _ in range(3):
        dead_letter(stack, EDITS)
    after = status(stack).topics
    assert difference(after[EDITS], before[EDITS]) == {"published": 3, "counted": 0, "dead": 3}
    assert difference(after[LETTERS], before[LETTERS]) == {"published": 3, "counted": 3, "dead": 0}


def difference(after: Any, before: Any) -> dict[str, int]:
    return {name: getattr(after, name) - getattr(before, name) for name in ("published", "counted", "dead")}
