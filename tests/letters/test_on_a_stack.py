"""Malformed web events on a running stack: dead letters, a recipe, and then they count. Once, and all accounted for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from insights.cli.main import app
from insights.settings import PROJECT, Settings
from insights.status import Status, watching
from producers.collect import keys as collect_keys
from producers.collect.batch import read
from producers.collect.intake import INTERACTION, Intake
from producers.persons.keys import PersonKeys
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from reconciliation.dead_letters import TOPIC
from schemas.codec import ERROR_HEADERS
from schemas.registry import Registry
from tests.conftest import wait_until

RUNNER = CliRunner()
RECIPES = PROJECT / "producers" / "redrive" / "recipes"
NUMBERS = RECIPES / "web-product-id-is-a-number.yaml"
STILL_WRONG = """
title: Does not mend it
event: web.interaction
where: contains(reason, 'product_id')
steps:
  - set: {interaction: product_view}
examples:
  - given: {id: e1, at: 1795770901500, interaction: page_view, page: /p}
    reason: product_id
    expected: {id: e1, at: 1795770901500, interaction: product_view, page: /p}
"""


@dataclass
class Shop:
    """A shop whose page sends web events, and the commands of who runs it."""

    stack: Settings
    name: str
    run: Callable[..., Result]
    look: Callable[[], Status]

    def sends(self, *events: dict[str, Any]) -> None:
        """One visitor's batch."""
        options = Options(state=self.stack.producers_dir)
        publisher = Publisher(self.stack.kafka, Registry(self.stack.registry_url), client_id="test", currency="EUR")
        this = Run(
            source=source("collect"), options=options, publisher=publisher, stop=Stop(), log=structlog.get_logger()
        )
        now_ms = int(time.time() * 1000)
        key = collect_keys.Key(name=self.name, key="k", origins=frozenset())
        with closing(Intake(this, collect_keys.opened(options.state), lambda: now_ms)) as intake:
            sent = [{"id": uuid.uuid4().hex, "at": now_ms, "interaction": "product_view", **each} for each in events]
            body = json.dumps({"sent_at": now_ms, "visitor": "v1", "events": sent}).encode()
            intake.take(key, ("v1",), read(body))
            intake.commit(30)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the web events of all sources, once every one is accounted for."""

        def rested() -> dict[str, int] | None:
            found = self.look().topics[INTERACTION.topic]
            names = ("published", "counted", "duplicate", "late", "dead")
            return {name: getattr(found, name) or 0 for name in names} if found.unaccounted == 0 else None

        return wait_until(rested, seconds=120, what="every web event is accounted for")

    def since(self, before: dict[str, int]) -> dict[str, int]:
        after = self.counts
        return {name: after[name] - before[name] for name in after if after[name] != before[name]}

    @property
    def causes(self) -> list[dict[str, Any]]:
        found = json.loads(self.run("stats", "--json").stdout)
        return [each for each in found if each["source"] == self.name]

    def ours(self) -> str:
        """A condition for this shop's letters alone: the stack has others."""
        return f"headers.source == '{self.name}'"


@pytest.fixture
def shop(stack: Settings, stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {**stack_environment, "COLUMNS": "10000"}.items():
        monkeypatch.setenv(name, value)
    with watching(stack) as look:
        yield Shop(
            stack=stack,
            name=f"bikes-{time.monotonic_ns()}",
            run=lambda *arguments: RUNNER.invoke(app, ["dead-letters", *arguments]),
            look=look,
        )


def test_malformed_web_events_are_fixed_by_a_recipe_and_count_once(shop: Shop, tmp_path: Path) -> None:
    before = shop.counts
    shop.sends(
        {"page": f"/{shop.name}/1", "product_id": "1"},
        {"page": f"/{shop.name}/2", "product_id": 2},
        {"page": f"/{shop.name}/3", "product_id": 3},
        {"url": f"/{shop.name}/4", "product_id": "4"},
    )
    assert shop.since(before) == {"published": 4, "counted": 1, "dead": 3}
    assert sum(each["open"] for each in shop.causes) == 3
    fix = ("--fix", str(NUMBERS), "--where", shop.ours())

    dry = shop.run("redrive", *fix, "--dry-run")
    assert (dry.exit_code, "would be published" in dry.output) == (0, True), dry.output
    assert shop.since(before) == {"published": 4, "counted": 1, "dead": 3}

    first = shop.run("redrive", *fix)
    assert first.exit_code == 0, first.output
    fixed = {"published": 7, "counted": 4, "dead": 3}
    assert shop.since(before) == fixed
    again = shop.run("redrive", *fix)
    assert (again.exit_code, "redriven before; skipped" in again.output) == (0, True)
    assert shop.since(before) == fixed
    assert [(each["open"], each["redriven"]) for each in shop.causes] == [(0, each["letters"]) for each in shop.causes]

    # Killed before it could note what Kafka had: the same ids again, which are duplicates.
    with psycopg.connect(shop.stack.postgres_dsn) as connection:
        connection.execute("update ops.redrives set state = 'sending' where recipe = %s", (NUMBERS.stem,))
    assert shop.run("redrive", *fix).exit_code == 0
    assert shop.since(before) == {**fixed, "published": 10, "duplicate": 3}
    # What was fixed belongs to the visit that its batch was of.
    rows = rows_of(shop)
    assert sorted(page[-1] for page, _, _ in rows) == ["1", "2", "3", "4"]
    assert len({session for _, session, _ in rows}) == 1


def rows_of(shop: Shop) -> list[tuple[Any, ...]]:
    """Page, session and region of each event that counts."""
    with psycopg.connect(shop.stack.postgres_dsn) as connection:
        return connection.execute(
            "select page, session_id, region from events.interactions where page like %s", (f"/{shop.name}/%",)
        ).fetchall()


def test_what_stays_wrong_is_open_says_why_and_a_letter_is_shown_whole(shop: Shop, tmp_path: Path) -> None:
    shop.sends({"page": "/p/2", "product_id": 2})
    before = shop.counts
    path = tmp_path / "wrong.yaml"
    path.write_text(STILL_WRONG)
    refused = shop.run("redrive", "--fix", str(path), "--where", shop.ours())
    assert (refused.exit_code, "product_id" in refused.output) == (1, True)  # its example breaks the contract
    path.write_text(STILL_WRONG.replace("page: /p}", "page: /p, product_id: a}"))
    failed = shop.run("redrive", "--fix", str(path), "--where", shop.ours())
    assert (failed.exit_code, "rejected again: product_id: Expected" in failed.output) == (3, True), failed.output
    assert shop.since(before) == {}
    (cause,) = shop.causes
    assert (cause["open"], cause["failed"], cause["redriven"]) == (1, 1, 0)
    shown = shop.run("show", str(cause["example"])).output
    assert '"page": "/p/2"' in shown
    assert "failed again" in shown
    assert "how to fix: write a recipe" in shown
    assert "there is no dead letter 999999" in shop.run("show", "999999").stderr
    assert "failed again" in shop.run("list", "--topic", "web.interaction").output


def test_the_letters_of_who_was_erased_can_not_be_redriven_and_say_so(shop: Shop) -> None:
    shop.sends({"page": "/p/2", "product_id": 2, "user_id": "7"})
    before = shop.counts
    with closing(PersonKeys(shop.stack.producers_dir)) as keys:
        keys.erase([f"{shop.name}-7"], [], int(time.time() * 1000))
    said = shop.run("redrive", "--where", shop.ours())
    assert (said.exit_code, "erased, or older" in said.output) == (0, True), said.output
    assert shop.since(before) == {}
    assert shop.causes[0]["advice"].startswith("nothing: it was erased")


def test_a_bad_row_of_snowplow_becomes_a_web_event(shop: Shop) -> None:
    before = shop.counts
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    enriched = {
        **{
            "app_id": shop.name,
            "event": "page_view",
            "event_id": str(uuid.uuid4()),
            "page_urlpath": f"/{shop.name}/helmets",
        },
        **{"domain_sessionid": str(uuid.uuid4()), "page_urlquery": "q=red", "geo_country": "DE"},
    }
    schema = "iglu:com.snowplowanalytics.snowplow.badrows/schema_violations/jsonschema/2-0-1"
    row = {"schema": schema, "data": {"payload": {"raw": {"timestamp": now}, "enriched": enriched}}}
    producer = Producer(shop.stack.kafka.librdkafka)
    producer.produce(TOPIC, json.dumps(row).encode(), headers=[(f"{ERROR_HEADERS}topic", b"ingress.snowplow")])
    producer.flush(30)
    recipe = str(RECIPES / "snowplow-schema-violations.yaml")
    where = f"value.data.payload.enriched.app_id == '{shop.name}'"
    done = shop.run("redrive", "--fix", recipe, "--where", where)
    assert done.exit_code == 0, done.output
    assert shop.since(before) == {"published": 1, "counted": 1}
    ((page, _, region),) = rows_of(shop)
    assert (page, region) == (f"/{shop.name}/helmets", "DE")
