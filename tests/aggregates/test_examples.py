"""Every worked example of every aggregate comes out right, in both engines with their own views and the one query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aggregates.catalogue import aggregate, aggregates
from flink.live_job import JOB_NAME, LiveJob
from tests.aggregates import oracle
from tests.aggregates.examples import BadExample, Example, examples, read_example
from tests.flink.live_on_files import Arrival, final_rows, on_files, settings
from tests.flink.process import FlinkProcess, FlinkRefused, Part
from tests.spark import replay_on_files
from tests.spark.process import SparkProcess

EXAMPLES = [pytest.param(example, id=str(example)) for example in examples()]
PUBLISHED_AT = datetime(2100, 1, 1, tzinfo=UTC)  # after every event: one ahead of it would be dead
CASES_IN_A_JOB = 12

Row = dict[str, Any]
Rows = Callable[[Example], list[Row]]


def part_of(example: Example, folder: Path) -> Part:
    arrivals = {
        name: [Arrival(record=record, published_at=PUBLISHED_AT) for record in records]
        for name, records in example.events.items()
    }
    job = LiveJob(name=JOB_NAME, aggregates=(example.aggregate,), events=example.aggregate.inputs)
    return on_files(re.sub(r"\W", "_", str(example)), arrivals, folder, example.aggregate, job=job)


def run(flink: FlinkProcess, chosen: Sequence[Example], folder: Path) -> dict[str, Path | FlinkRefused]:
    """Runs all examples as one job; the folder of each one's tables. When the job fails, each runs by itself."""
    folders = {example: folder / str(number) for number, example in enumerate(chosen)}
    try:
        flink.run(settings(), [part_of(example, place) for example, place in folders.items()])
    except FlinkRefused as refused:
        if len(chosen) == 1:
            return {str(chosen[0]): refused}
        alone = [run(flink, [example], place / "alone") for example, place in folders.items()]
        return {name: outcome for outcomes in alone for name, outcome in outcomes.items()}
    return {str(example): place for example, place in folders.items()}


@pytest.fixture(scope="module")
def flink_rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flink: FlinkProcess) -> Rows:
    """An example's rows by Flink. All examples that this test run asks for run in a few jobs at its first question."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    asked = [c.params["example"] for c in callspecs if c and "example" in c.params]
    outcomes: dict[str, Path | FlinkRefused] = {}
    for start in range(0, len(asked), CASES_IN_A_JOB):
        outcomes |= run(flink, asked[start : start + CASES_IN_A_JOB], tmp_path_factory.mktemp("examples"))

    def rows(example: Example) -> list[Row]:
        outcome = outcomes[str(example)]
        if isinstance(outcome, FlinkRefused):
            raise outcome
        return final_rows(outcome, example.aggregate)

    return rows


@pytest.mark.parametrize("example", EXAMPLES)
def test_flink_gives_the_expected_rows(example: Example, flink_rows: Rows) -> None:
    assert flink_rows(example) == list(example.expected)


@pytest.mark.parametrize("replayed", EXAMPLES)
def test_spark_gives_the_expected_rows(replayed: Example, spark: SparkProcess, tmp_path: Path) -> None:
    """A replay is given the late events; getting their ledger right is Flink's job."""
    inputs = [
        replay_on_files.with_late(
            replay_on_files.write_log(tmp_path, name, records, PUBLISHED_AT),
            [(partition, offset) for partition, offset, _, _ in oracle.Judged(records).late],
            tmp_path,
        )
        for name, records in replayed.events.items()
    ]
    computation = replay_on_files.computation(replayed.aggregate)
    spark.recompute(replay_on_files.task(tmp_path, inputs, [computation]), tmp_path)
    assert replay_on_files.rows(tmp_path, replayed.aggregate) == list(replayed.expected)


@pytest.mark.parametrize("worked", EXAMPLES)
def test_the_oracle_gives_the_expected_rows(worked: Example) -> None:
    of_aggregate = worked.aggregate
    rule = of_aggregate.payment
    paid = oracle.by_payment(*rule.undated) if rule else nullcontext()
    with oracle.shop_in(of_aggregate.zone.name if of_aggregate.zone else "UTC"), paid:
        assert oracle.table(of_aggregate.name, of_aggregate.key, worked.events) == list(worked.expected)


@pytest.mark.parametrize("name", [a.name for a in aggregates()])
def test_an_aggregate_has_an_example(name: str) -> None:
    assert list((aggregate(name).folder / "examples").glob("*.yaml"))


def test_an_examples_folder_holds_nothing_but_examples() -> None:
    strays = [p for a in aggregates() for p in (a.folder / "examples").iterdir() if p.suffix != ".yaml"]
    assert strays == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("expect: []", "lacks why"),
        ("why: x\nexpect: []\nsales.order_refunded: []", "'sales.order_refunded', which is no input"),
        ("why: x\nexpect: []\nsales.order_placed: [{}]", r"sales.order_placed\[0\] lacks occurred_at"),
        (
            "why: x\nexpect: []\nsales.order_placed: [{occurred_at: yesterday}]",
            "'yesterday'; a time is written 2026-03-02 10:15:00.000",
        ),
        (
            "why: x\nexpect: []\nsales.order_placed: [{occurred_at: 2026-03-02, region: 7}]",
            "region is 7; it must be a string; put it in quotes",
        ),
        (
            "why: x\nexpect: []\nsales.order_placed: [{occurred_at: 2026-03-02, lines: [{unit_price: 7}]}]",
            r"lines\[0\].unit_price is 7; it must be a money with its cents",
        ),
        (
            "why: x\nexpect: []\nsales.order_placed: [{occurred_at: 2026-03-02, colour: red}]",
            "'colour', which is not in the contract",
        ),
        ("why: x\nexpect: [{window_start: 2026-03-02, colour: red}]", "'colour', which is no column"),
        ("why: x\nexpect: [{window_start: 2026-03-02}]", r"expect\[0\] lacks orders"),
    ],
)
def test_a_mistake_in_an_example_is_named(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(text)
    with pytest.raises(BadExample, match=problem) as caught:
        read_example(path, aggregate("sales_per_minute"))
    assert str(path) in str(caught.value)


def test_what_an_example_leaves_out_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text("why: x\nexpect: []\nsales.order_placed: [{occurred_at: 2026-03-02 10:15, region: NO}]")
    events: Mapping[str, Sequence[Mapping[str, Any]]] = read_example(path, aggregate("sales_per_minute")).events
    (order,) = events["sales.order_placed"]
    assert order["event_id"] == "event 1"
    assert order["occurred_at"] == datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    assert order["region"] == "NO"
    assert order["currency"] == "EUR"
    assert order["session_id"] is None
    assert order["lines"] == []
