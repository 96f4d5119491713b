"""`make check` names the line of a query that one of the engines does not understand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aggregates.catalogue import aggregate

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What the check reports of one aggregate in seven versions, one of them valid."""
    folders = [
        changed(tmp_path_factory.mktemp(name), was, becomes)
        for name, was, becomes in (
            ("sound", "order_id", "order_id"),
            ("flink", "        order_id,", "        json_string(order_id) as order_id,"),
            ("spark", "        order_id,", "        bround(quantity, 1) as rounded,\n        order_id,"),
            ("typo", "    category\n", "    categoty\n"),
            ("order", "    region,\n    category,\n    count", "    category,\n    region,\n    count"),
            ("type", "count(distinct order_id)", "1.5 * count(distinct order_id)"),
            ("spanning", "{{ total('quantity') }}", "{{\n    total('quantity') }}"),
        )
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "plan_sql.py"), *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def changed(folder: Path, was: str, becomes: str) -> Path:
    copied = Path(shutil.copytree(aggregate("sales_per_minute").folder, folder / "sales_per_minute"))
    query = (copied / "query.sql").read_text()
    assert was in query
    (copied / "query.sql").write_text(query.replace(was, becomes, 1))
    return copied


@pytest.mark.parametrize(
    ("version", "line", "engine", "problem"),
    [
        ("flink", 6, "spark", "json_string"),
        ("spark", 6, "flink", "bround"),
        ("typo", 26, "flink", "categoty"),
        ("typo", 26, "spark", "categoty"),
        ("order", 26, "flink", "gives window_start, category, region.* and aggregate.toml has window_start, region"),
        ("order", 26, "spark", "gives window_start, category, region.* and aggregate.toml has window_start, region"),
        ("type", 17, "flink", r"orders is decimal\(.*, which aggregate.toml has as count"),
        ("type", 17, "spark", r"orders is decimal\(.*, which aggregate.toml has as count"),
        ("spanning", 1, "spark", "a macro's call spans lines"),
    ],
)
def test_what_an_engine_does_not_understand_is_named_with_its_line(
    version: str, line: int, engine: str, problem: str, said: tuple[int, str]
) -> None:
    code, text = said
    assert code == 1
    assert re.search(rf"/{version}\d*/sales_per_minute/query.sql:{line}: \[{engine}\] .*{problem}", text), text


def test_the_other_engine_and_a_sound_query_have_no_problem(said: tuple[int, str]) -> None:
    _, text = said
    assert "/sound" not in text
    assert "flink0/sales_per_minute/query.sql:6: [flink]" not in text
    assert "spark0/sales_per_minute/query.sql:6: [spark]" not in text
