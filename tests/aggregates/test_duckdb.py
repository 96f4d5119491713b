"""DuckDB, reading a lake of files, comes to the same rows as the worked examples and as plain arithmetic."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from aggregates.catalogue import aggregates
from aggregates.render import Engine, render
from replay.duckdb.engine import compute
from schemas.catalogue import event
from tests.aggregates import oracle
from tests.aggregates.any_events import TEXTS, any_log, chunks_of, paying
from tests.aggregates.examples import Example, examples
from tests.replay import own_lake
from tests.replay.duckdb_task import Log, archived_rows, computation, input_of, rows_of, task_of

OF_ORDERS = ("sales.order_placed", "sales.order_refunded", "web.interaction")
EXAMPLES = [pytest.param(example, id=str(example)) for example in examples()]


def archive_log(folder: Path, log: Log) -> None:
    for name, records in log.items():
        own_lake.archive(folder, event(name), archived_rows(records))


@pytest.mark.parametrize("example", EXAMPLES)
def test_duckdb_gives_the_rows_of_the_example(example: Example, tmp_path: Path) -> None:
    archive_log(tmp_path, example.events)
    a = example.aggregate
    inputs = [input_of(name, records, tmp_path) for name, records in example.events.items()]
    task = task_of(tmp_path, inputs, [computation(a)])
    compute(task, lambda progress: None)
    assert rows_of(task, a) == list(example.expected)


@runs(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 32) - 1))
def test_duckdb_and_the_oracle_agree_on_every_cell(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = any_log(seed, events_a_topic=1_000)
    folder = tmp_path_factory.mktemp("any-events")
    archive_log(folder, log)
    inputs = [input_of(name, records, folder) for name, records in log.items()]
    task = task_of(folder, inputs, [computation(a) for a in aggregates()])
    compute(task, lambda progress: None)
    for a in aggregates():
        assert_same(rows_of(task, a), oracle.table(a.name, a.key, log), f"{a.name} with the seed {seed}")


@runs(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 32) - 1))
def test_by_payment_duckdb_and_the_oracle_agree_on_every_cell_however_the_days_are_cut(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An order is placed before a cut and paid after it; its states are paid on either side."""
    log = {name: records for name, records in any_log(seed, events_a_topic=600).items() if name in OF_ORDERS}
    undated = Random(seed).choice(TEXTS)
    folder = tmp_path_factory.mktemp("by-payment")
    archive_log(folder, log)
    inputs = [input_of(name, records, folder) for name, records in log.items()]
    found = paying(undated)
    chunks = chunks_of(log["sales.order_placed"], 3)
    task = task_of(folder, inputs, [computation(a, chunks) for a in found])
    compute(task, lambda progress: None)
    for a in found:
        with oracle.by_payment(undated):
            expected = oracle.table(a.name, a.key, log)
        assert_same(rows_of(task, a), expected, f"{a.name} by payment with the seed {seed}")


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]], what: str) -> None:
    """As ``==``, with a message of one row and not of a thousand."""
    odd = next(((f, e) for f, e in zip(found, expected, strict=False) if f != e), None)
    assert odd is None, f"{what}: DuckDB has {odd[0]}, expected is {odd[1]}"
    assert len(found) == len(expected), f"{what}: DuckDB has {len(found)} rows, expected are {len(expected)}"


def test_what_duckdb_gets_has_the_lines_of_the_file() -> None:
    for a in aggregates():
        assert render(a, Engine.DUCKDB).count("\n") == a.query.strip().count("\n")
        assert "`" not in render(a, Engine.DUCKDB)
