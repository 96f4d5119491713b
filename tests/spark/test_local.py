"""A script runs in Spark's own environment, reports what it does, and never outlives its parent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from insights.wiring import spark_runtime
from schemas.errors import Misconfigured
from spark.local import SparkFailed, run
from tests.conftest import own_settings
from tests.spark.process import runtime

pytestmark = pytest.mark.engine

TELLS = """
import json
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
context = spark.sparkContext
print("words of a library")
print(json.dumps({"event": "told", "sum": spark.range(4).selectExpr("sum(id)").first()[0],
    "zone": spark.conf.get("spark.sql.session.timeZone"), "host": context.getConf().get("spark.driver.host"),
    "page": context.uiWebUrl}))
"""
STAYS = """
import json, time
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate()
print(json.dumps({"event": "up"}), flush=True)
time.sleep(600)
"""
FAILS = """
import json, sys
print(json.dumps({"event": "failed", "reason": "the moon is full"}), flush=True)
sys.exit(1)
"""
NAMES_AWS = """
import json, os
print(json.dumps({"event": "named", "at": os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")}), flush=True)
"""
STARTS_ONE = """
import sys
from pathlib import Path
from tests.spark.process import runtime
from spark.local import run
run(runtime(Path(sys.argv[1])), Path(sys.argv[2]), on_event=lambda event: print(event["event"], flush=True))
"""
ROOT = Path(__file__).parent.parent.parent


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


def test_a_scripts_events_are_passed_on_and_it_runs_on_loopback_in_utc(tmp_path: Path) -> None:
    received: list[dict[str, Any]] = []
    run(runtime(tmp_path / "work"), script(tmp_path, TELLS), on_event=received.append)
    assert received == [{"event": "told", "sum": 6, "zone": "UTC", "host": "127.0.0.1", "page": None}]
    assert not (tmp_path / "work" / "local").exists(), "what Spark spilled stays on the disk"


def test_a_script_knows_who_we_are_to_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/one")
    received: list[dict[str, Any]] = []
    run(runtime(tmp_path), script(tmp_path, NAMES_AWS), on_event=received.append)
    assert received == [{"event": "named", "at": "/v2/credentials/one"}]


def test_a_failing_script_is_reported_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SparkFailed, match="the moon is full") as failed:
        run(runtime(tmp_path), script(tmp_path, FAILS))
    assert str(tmp_path / "spark.log") in str(failed.value)


def test_a_script_that_ends_without_a_reason_leaves_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SparkFailed, match="ZeroDivisionError"):
        run(runtime(tmp_path), script(tmp_path, "1 / 0"))


def test_a_caller_that_raises_ends_the_script(tmp_path: Path) -> None:
    def enough(event: dict[str, Any]) -> None:
        raise InterruptedError(event["event"])

    with pytest.raises(InterruptedError, match="up"):
        run(runtime(tmp_path), script(tmp_path, STAYS), on_event=enough)
    assert not spark_processes(tmp_path)


def test_spark_ends_when_its_starter_is_killed(tmp_path: Path, until: Callable[..., Any]) -> None:
    command = [sys.executable, "-c", STARTS_ONE, str(tmp_path), str(script(tmp_path, STAYS))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        assert len(spark_processes(tmp_path)) == 2, "Python and Java"
        starter.kill()
    until(lambda: not spark_processes(tmp_path), what="Spark's Python and Java are gone")


def spark_processes(work_dir: Path) -> list[psutil.Process]:
    """Those that were started with this work folder, but for the one that started them."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(work_dir) in part for part in process.info["cmdline"] or ()) and "-c" not in process.info["cmdline"]
    ]


def test_a_jar_that_is_missing_is_named(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / "home", jars=tmp_path / "no-jars")
    with pytest.raises(Misconfigured, match=r"lacks spark-sql-kafka.*`insights up`"):
        run(spark_runtime(settings, tmp_path / "work"), script(tmp_path, TELLS))


def test_an_environment_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    broken = replace(runtime(tmp_path / "work"), bootstrap=script(tmp_path, "raise SystemExit('no network')"))
    with pytest.raises(Misconfigured, match="could not be created: no network"):
        run(broken, tmp_path / "script.py")
