"""A stack with its lake in a real S3: Flink writes the log there, both engines replay from it, and it is kept tidy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from insights.settings import PROJECT
from insights.wiring import deployment, replay_context
from replay import run_history
from schemas.catalogue import event
from tests.conftest import free_ports, wait_until
from tests.e2e.hub import Hub, assert_exact, quiet_hub
from tests.own_s3 import BUCKET, SECRET, listens, s3_server
from warehouse.maintenance import maintain, rules
from warehouse.tables import open_lake

ORDER_PLACED = event("sales.order_placed")
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", params=["postgres", "glue"])
def catalog(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, catalog: str) -> Path:
    return tmp_path_factory.mktemp("s3") / "objects"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, objects: Path, catalog: str, my_turn: None) -> Iterator[Hub]:
    """One for each catalog. moto's Glue is found as AWS' is, by variables; the bucket's keys are there too."""
    with ExitStack() as resources:
        lake = resources.enter_context(s3_server(objects))
        if catalog == "glue":
            variables = resources.enter_context(pytest.MonkeyPatch.context())
            variables.setenv("AWS_ENDPOINT_URL_GLUE", resources.enter_context(glue()))
            variables.setenv("AWS_ACCESS_KEY_ID", lake.pop("external_lake_key_id"))
            variables.setenv("AWS_SECRET_ACCESS_KEY", lake.pop("external_lake_secret"))
            lake["external_lake_catalog"] = "glue"
        home = tmp_path_factory.mktemp("hub")
        yield resources.enter_context(quiet_hub(home, lake, seed=5, rate=10.0, history="3h"))


@contextmanager
def glue() -> Iterator[str]:
    """moto's, which refuses a commit after another, as AWS' does. Its address."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.marts.moto_server", "127.0.0.1", str(port)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), what="moto's server listens")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def objects_of(objects: Path, table: str) -> list[Path]:
    """Data files, as the server keeps them."""
    return [path for path in (objects / BUCKET / "lake").rglob("*.parquet") if table in path.parts]


def test_the_lake_in_s3_is_the_log_also_when_flink_was_killed(hub: Hub, objects: Path) -> None:
    hub.shop.start()
    before = hub.counted()
    hub.until(lambda: hub.counted() >= before + 100, "events flow")
    hub.kill("taskmanager")
    before = hub.counted()
    hub.until(lambda: hub.counted() >= before + 100, "events flow again")
    hub.shop.stop()
    assert_exact(hub)
    assert objects_of(objects, ORDER_PLACED.table)
    assert not (hub.settings.home / "lake").exists()


@pytest.mark.parametrize("engine", ["duckdb", "local"])
def test_an_engine_replays_from_it_what_the_log_has_deleted(hub: Hub, engine: str, tmp_path: Path) -> None:
    the_log_deletes_half_of_the_orders(hub)
    plan = str(tmp_path / "plan.yaml")
    planned = hub.command("replay", "plan", "sales_per_minute", "order_lines", "--from-beginning", "--out", plan)
    assert "from the lake" in planned
    hub.command("replay", "run", plan, "--engine", engine)
    with replay_context(hub.settings).postgres() as connection:
        (computed,) = run_history.newest(connection, 1)
    hub.command("replay", "verify", computed.run)  # ends with 1 where a cell differs from the live table


def the_log_deletes_half_of_the_orders(hub: Hub) -> None:
    """As retention would."""
    extents = replay_context(hub.settings).log.extents(ORDER_PLACED)
    admin = AdminClient(dict(hub.settings.kafka.librdkafka))
    half = [TopicPartition(ORDER_PLACED.topic, n, max(e.begin, e.end // 2)) for n, e in extents.items()]
    for future in admin.delete_records(half).values():
        future.result(30)


def test_maintenance_compacts_it_and_removes_orphans(hub: Hub, objects: Path) -> None:
    target, tomorrow = deployment(hub.settings), datetime.now(UTC) + timedelta(days=1)
    orphan = objects_of(objects, ORDER_PLACED.table)[0].parent / "orphan.parquet"
    orphan.write_bytes(b"of a job that was killed")
    os.utime(orphan, times=(0, 0))
    with open_lake(target) as lake:
        rows = lake.load_table(f"events.{ORDER_PLACED.table}").scan().count()
    done = {tidied.table: tidied for tidied in maintain(target, rules(target, tomorrow, keep_hours=0))}
    orders = done[f"events.{ORDER_PLACED.table}"]
    assert orders.after.files < orders.before.files
    assert orders.expired > 0
    assert orders.removed > 0
    assert (orders.orphans, orphan.exists()) == (1, False)
    with open_lake(target) as lake:
        assert lake.load_table(f"events.{ORDER_PLACED.table}").scan().to_arrow().num_rows == rows


def test_status_names_the_bucket_and_not_the_secret(hub: Hub) -> None:
    shown = hub.command("status")
    assert f"s3://{BUCKET}/lake" in shown
    assert SECRET not in shown
