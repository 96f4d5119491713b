"""A replay that pods of Spark compute: what they are handed, and how the hub waits. The test plays the pods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from insights import engines
from insights.engines import SparkOnKubernetes, engine_of
from schemas.errors import Misconfigured
from spark import local
from spark.task import Chunk, Computation, Input, Slice, Task
from tests.conftest import own_settings


@pytest.fixture
def given(tmp_path: Path) -> Task:
    """With 40 records, and four chunks to compute."""
    chunks = tuple(Chunk(name=name, from_time=None, until_time=None) for name in ("0", "1"))
    read = Input(
        event="sales.order_placed",
        **{"table": "order_placed", "topic": "sales.order_placed.v1", "schema": "", "schemas": {}, "late": {}},
        log=(Slice(partition=0, from_offset=10, until_offset=40),),
        lake=(Slice(partition=0, from_offset=0, until_offset=10),),
    )
    counted = Computation(aggregate="counted", sql="", inputs=(), time_column="at", columns={}, chunks=chunks)
    output = (tmp_path / "replay" / "r7" / "results").as_uri()
    return Task(
        **{"run": "r7", "kafka": "", "lake": {}, "output": output},
        **{"inputs": (read,), "variants": ("counted", "restated"), "computations": (counted,)},
    )


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "jars" / "some.jar"
    path.parent.mkdir()
    path.write_bytes(b"a jar")
    monkeypatch.setattr(engines, "spark_runtime", lambda *_: SimpleNamespace(jars=(path,)))
    return path


def computed(tmp_path: Path, given: Task, pause: Callable[[float], object]) -> tuple[list[str], list[dict[str, Any]]]:
    """What was said, and the events."""
    said: list[str] = []
    events: list[dict[str, Any]] = []
    SparkOnKubernetes(own_settings(tmp_path), said.append, pause).compute(given, events.append)
    return said, events


def finish(tmp_path: Path, *chunks: str) -> None:
    for chunk in chunks:
        folder = tmp_path / "replay" / "r7" / "results" / chunk
        folder.mkdir(parents=True)
        (folder / "_SUCCESS").touch()


def test_the_hub_waits_until_every_chunk_of_every_variant_is_there(tmp_path: Path, given: Task, jar: Path) -> None:
    work = [("counted/counted/1", "restated/counted/0"), (), ("counted/counted/0", "restated/counted/1")]
    said, events = computed(tmp_path, given, lambda seconds: finish(tmp_path, *work.pop(0)))
    assert work == []
    assert said == ["waiting for Spark: give the chart spark.run=r7 (docs/kubernetes.md)"]
    assert events == [{"event": "progress", "records": records, "of": 40} for records in (0, 20, 20)]


def test_a_run_that_was_computed_meanwhile_is_not_waited_for(tmp_path: Path, given: Task, jar: Path) -> None:
    finish(tmp_path, *(f"{variant}/counted/{chunk}" for variant in given.variants for chunk in "01"))
    assert computed(tmp_path, given, lambda seconds: pytest.fail("it waits"))[1] == []


def test_the_pods_find_the_job_and_its_jars_as_this_release_has_them(tmp_path: Path, given: Task, jar: Path) -> None:
    files = tmp_path / "replay" / "files"
    files.mkdir(parents=True)
    (files / "job.py").write_text("of an earlier release")
    (files / "some-0.9.jar").write_text("of an earlier release")
    test_a_run_that_was_computed_meanwhile_is_not_waited_for(tmp_path, given, jar)
    assert {file.name: file.read_bytes() for file in files.iterdir()} == {
        "job.py": local.JOB.read_bytes(),
        "task.py": local.JOB.with_name("task.py").read_bytes(),
        "some.jar": b"a jar",
    }


def test_a_jar_that_is_missing_is_named_and_nothing_is_waited_for(tmp_path: Path, given: Task, jar: Path) -> None:
    jar.unlink()
    with pytest.raises(Misconfigured, match=r"Spark lacks some\.jar in .*; `insights up` downloads it"):
        computed(tmp_path, given, lambda seconds: pytest.fail("it waits"))


def test_the_engine_is_one_of_those_that_a_run_may_name(tmp_path: Path) -> None:
    assert isinstance(engine_of(own_settings(tmp_path), "kubernetes", lambda text: None), SparkOnKubernetes)
    with pytest.raises(Misconfigured, match="--engine is one of local, duckdb, emr, kubernetes"):
        engine_of(own_settings(tmp_path), "yarn", lambda text: None)
