"""The package on a Flink that has nothing of ours, started as the service starts it.

A JobManager and a TaskManager with Flink's own jars alone, on the log of the run's stack. Their job writes to tables of
its own.
"""

from __future__ import annotations

import json
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from confluent_kafka import Producer
from psycopg.conninfo import conninfo_to_dict

from flink.finality import FinalityRecorder
from flink.job_control import show_deployed
from flink.live_job import keep, main_job
from flink.rest import FlinkRest
from insights import jars
from insights.managed_flink.package import PARTS, RUN_OPTIONS, ManagedPlan, build, managed_plan
from insights.settings import Settings
from insights.stack.flink_java import arguments_file, configure, flink_environment
from insights.stack.servers import flink_options, jobmanager, taskmanager
from insights.wiring import FLINK_ENVIRONMENT, deployment, flink_home
from schemas.catalogue import event
from schemas.codec import Encoder
from schemas.registry import Registry
from tests.conftest import own_settings, wait_until
from tests.e2e.table_contents import log_ends
from tests.own_aws import moto_server
from warehouse.deployment import Deployment
from warehouse.postgres import connected
from warehouse.tables import create_tables, open_lake

STOCK_MOVED = event("inventory.stock_moved")
JOB = replace(main_job(), name="insights-live-packaged")
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "of-tests", "AWS_SECRET_ACCESS_KEY": "of-tests"}


@pytest.fixture
def target(stack: Settings, new_database: Callable[[], str], tmp_path: Path) -> Deployment:
    """The stack's log and registry, with tables and a lake of its own."""
    tables, lake = (conninfo_to_dict(new_database()) for _ in range(2))
    found = replace(
        deployment(stack),
        postgres_host=str(tables["host"]),
        postgres_port=int(str(tables["port"])),
        postgres_database=str(tables["dbname"]),
        postgres_user=str(tables["user"]),
        postgres_password=str(tables["password"]),
        lake_database=str(lake["dbname"]),
        lake_warehouse=(tmp_path / "lake").as_uri(),
    )
    create_tables(found, JOB.aggregates)
    return found


@pytest.fixture
def bare(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A Flink with its own jars alone, and checkpoints as its configuration has them."""
    settings = own_settings(tmp_path / "flink")
    settings.flink_lib_dir.mkdir(parents=True)
    for folder in (settings.logs_dir, settings.run_dir):
        folder.mkdir(parents=True)
    for jar in (*flink_home().glob("lib/*.jar"), *flink_home().glob("opt/flink-python-*.jar")):
        (settings.flink_lib_dir / jar.name).symlink_to(jar)
    configure(settings, {**flink_options(settings), "execution.checkpointing.interval": "2 s"})
    with ExitStack() as resources:
        for part in (jobmanager(settings), taskmanager(settings)):
            log = resources.enter_context((tmp_path / f"{part.name}.log").open("w"))
            process = subprocess.Popen(part.command, env=part.environment, stdout=log, stderr=log)
            resources.callback(process.wait, 30)
            resources.callback(process.terminate)
        wait_until(lambda: is_up(FlinkRest(settings.flink_url)), seconds=90, what="a TaskManager is registered")
        yield settings


def is_up(rest: FlinkRest) -> bool:
    try:
        return bool(rest.task_managers())
    except Exception:
        return False


@pytest.fixture
def secrets() -> Iterator[Callable[[dict[str, str]], tuple[dict[str, str], str]]]:
    """``secrets(values)``: the properties by which a job finds these in a secret, and where it is asked for.

    They are not its newest values.
    """
    with moto_server() as endpoint:

        def put(values: dict[str, str]) -> tuple[dict[str, str], str]:
            keys = {name.lower(): value for name, value in KEYS.items()}
            client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint, **keys)
            made = client.create_secret(Name=f"insights/{uuid.uuid4()}", SecretString=json.dumps(values))
            client.put_secret_value(SecretId=made["ARN"], SecretString=json.dumps(dict.fromkeys(values, "of another")))
            return {"secret": made["ARN"], "secret_version": made["VersionId"]}, endpoint

        yield put


def started_like_the_service(package: Path, secret: dict[str, str], endpoint: str, bare: Settings, root: Path) -> str:
    """Unpacks it, leaves the properties where a program looks for them, and runs main.py with the jar. Its output."""
    unpacked, properties = root / "code", root / "etc" / "flink" / "application_properties.json"
    with zipfile.ZipFile(package) as archive:
        archive.extractall(unpacked)
    properties.parent.mkdir(parents=True)
    groups = {"kinesis.analytics.flink.run.options": RUN_OPTIONS, "insights": secret}
    properties.write_text(json.dumps([{"PropertyGroupId": i, "PropertyMap": m} for i, m in groups.items()]))
    python = str(FLINK_ENVIRONMENT / "bin" / "python")
    client = jobmanager(bare).command[0]
    done = subprocess.run(
        [
            *(client, f"@{arguments_file(bare.conf_dir / 'flink', 'client')}"),
            *("run", "--detached", "-m", bare.flink_url.removeprefix("http://")),
            *("-pyclientexec", python, "-pyexec", python),
            *("-py", str(unpacked / RUN_OPTIONS["python"]), "--jarfile", str(unpacked / RUN_OPTIONS["jarfile"])),
        ],
        env={
            **flink_environment(bare),
            **KEYS,
            "FLINK_OPT_DIR": str(flink_home() / "opt"),
            "INSIGHTS_ROOT": str(root),
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": endpoint,
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def moves() -> list[dict[str, Any]]:
    """Some in each partition and of each reason, under names of this test's own."""
    at, prefix = datetime.now(UTC).replace(microsecond=0), f"packaged-{uuid.uuid4()}"
    return [
        {
            "event_id": str(uuid.uuid4()),
            "occurred_at": at,
            "source": "tests",
            "trace": None,
            "product_id": f"{prefix}-{number % 7}",
            "delta": number - 20,
            "reason": ("restock", "adjustment")[number % 2],
            "warehouse": "tests",
            "order_id": None,
        }
        for number in range(60)
    ]


def publish(stack: Settings, records: list[dict[str, Any]]) -> None:
    encoder = Encoder(STOCK_MOVED, Registry(stack.registry_url).schema_id(STOCK_MOVED))
    producer = Producer({**stack.kafka.librdkafka})
    for number, record in enumerate(records):
        producer.produce(
            STOCK_MOVED.topic,
            key=record["product_id"].encode(),
            value=encoder.encode(record),
            partition=number % STOCK_MOVED.partitions,
            headers=[("schema_id", str(encoder.schema_id).encode())],
        )
    assert producer.flush(30) == 0


def packaged(target: Deployment, stack: Settings, folder: Path) -> tuple[Path, ManagedPlan]:
    jars.fetch(stack.jars, parts=(*PARTS, "compiler"), repository=stack.maven_repository)
    plan = managed_plan(target, JOB)
    return build(plan, flink_home=flink_home(), jar_folder=stack.jars, folder=folder), plan


def test_a_flink_with_nothing_of_ours_runs_the_package_and_its_rows_are_the_logs(
    stack: Settings,
    target: Deployment,
    bare: Settings,
    secrets: Callable[[dict[str, str]], tuple[dict[str, str], str]],
    tmp_path: Path,
) -> None:
    sent = moves()
    publish(stack, sent)
    package, plan = packaged(target, stack, tmp_path / "packages")
    properties, endpoint = secrets(plan.values)
    started_like_the_service(package, properties, endpoint, bare, tmp_path / "root")

    def counted() -> bool:
        with psycopg.connect(target.postgres_dsn) as connection:
            found = connection.execute(
                "select product_id, sum(restocked)::int, sum(adjusted)::int from live.stock_moves_per_hour"
                " where product_id = any(%s) group by product_id",
                ([record["product_id"] for record in sent],),
            ).fetchall()
        return sorted(found) == expected(sent)

    def archived() -> bool:
        with open_lake(target) as catalog:
            rows = catalog.load_table(("events", STOCK_MOVED.table)).scan().to_arrow()
        return len(rows) == sum(log_ends(stack, STOCK_MOVED).values())

    wait_until(counted, seconds=180, what="the moves are in the live table")
    wait_until(archived, seconds=60, what="every record of the topic is in the lake")
    recorder = FinalityRecorder(managed := managed_hub(target, tmp_path / "hub"))

    def final() -> bool:
        recorder.step()
        with connected(managed) as connection:
            found = connection.execute(
                "select watermark, final_until from ops.finality where aggregate = 'stock_moves_per_hour'"
            ).fetchone()
        reached = sent[0]["occurred_at"] - timedelta(seconds=target.out_of_order_seconds)
        return found is not None and found[0] >= reached and found[1] == found[0] - timedelta(hours=24)

    wait_until(final, seconds=60, what="without Flink's REST interface it is known how far the moves are final")


def managed_hub(target: Deployment, home: Path) -> Deployment:
    """The deployment as a hub has it that can't ask Flink, and knows the job."""
    found = replace(target, flink_url="", jobs_dir=home / "jobs", work_dir=home / "client")
    keep(found, JOB)
    show_deployed(found, JOB)
    return found


def expected(sent: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """By product, what was restocked and what was adjusted."""
    found: dict[str, dict[str, int]] = {}
    for record in sent:
        by_reason = found.setdefault(record["product_id"], {"restock": 0, "adjustment": 0})
        by_reason[record["reason"]] += record["delta"]
    return sorted((product, by["restock"], by["adjustment"]) for product, by in found.items())
