"""Has both engines plan every query, over the live job's views and over a replay's: ``plan_sql.py [FOLDER …]``.

Nothing is run. What an engine does not understand is named with the line of query.sql, and so is a column that is not
what aggregate.toml has: names and order as there, and a type that fits the column's without losing anything.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aggregates.catalogue import SCALES, Aggregate, aggregates, read_aggregate
from aggregates.render import Engine, render
from schemas.catalogue import event
from tests.flink.live_on_files import created, plan
from tests.flink.process import Part, flink_process
from tests.spark.process import Query, spark_process

ROOT = Path(__file__).resolve().parent.parent
# By logical type, what an engine may give for it. Both engines' names, in lower case; money is a matter of digits.
FITTING = {
    "timestamp": r"timestamp(\([0-3]\))?",
    "date": r"date",
    "string": r"string|(var)?char\(\d+\)",
    "bytes": r"bytes|binary|varbinary\(\d+\)",
    "int": r"int|smallint|tinyint",
    "count": r"bigint|int|smallint|tinyint",
    "boolean": r"boolean",
    "double": r"double|float|int|smallint|tinyint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an engine makes of a query: its columns with their types, or what is wrong on a line."""

    columns: dict[str, str]
    problem: str = ""
    line: int = 1


def main(folders: list[str]) -> int:
    """Print ``path:line: [engine] what is wrong`` of each; 1 when there is one."""
    chosen = [read_aggregate(Path(folder)) for folder in folders] or list(aggregates())
    with ThreadPoolExecutor() as both:
        answers = {Engine.FLINK: both.submit(by_flink, chosen), Engine.SPARK: both.submit(by_spark, chosen)}
    found = [
        f"{shown(aggregate)}:{line}: [{engine}] {problem}"
        for engine, answered in answers.items()
        for aggregate, answer in zip(chosen, answered.result(), strict=True)
        for line, problem in problems(aggregate, engine, answer)
    ]
    print(*found, f"{len(chosen)} queries planned by {len(answers)} engines, {len(found)} problems", sep="\n")
    return 1 if found else 0


def shown(aggregate: Aggregate) -> Path:
    """Path of the query as it is printed: relative, if it is in the project."""
    path = (aggregate.folder / "query.sql").absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def by_flink(chosen: list[Aggregate]) -> list[Answer]:
    """Flink's answer to each query."""
    statements = [s for s in plan().statements if "create catalog" not in s and "." not in created(s)]
    part = Part(name="live", statements=statements, queries=[render(a, Engine.FLINK) for a in chosen])
    with tempfile.TemporaryDirectory() as folder, flink_process(Path(folder)) as flink:
        return [_answer(found) for found in flink.plan(plan().settings, part)]


def by_spark(chosen: list[Aggregate]) -> list[Answer]:
    """Spark's answer to each query."""
    queries = [
        Query(
            sql=render(a, Engine.SPARK),
            time_column=a.time,
            inputs=tuple({"event": e.name, "table": e.table, "schema": e.schema_text} for e in map(event, a.inputs)),
        )
        for a in chosen
    ]
    with tempfile.TemporaryDirectory() as folder, spark_process(Path(folder)) as spark:
        return [_answer(found) for found in spark.describe(queries)]


def _answer(found: dict[str, Any]) -> Answer:
    text = str(found.get("error", ""))
    line = re.search(r"\bline (\d+)", text)
    # Flink answers with Java's whole stack trace; its innermost cause names the problem.
    causes = re.findall(r"^Caused by: [\w.$]+: (.+)$", text, re.MULTILINE)
    return Answer(
        columns=found.get("columns", {}),
        problem=causes[-1] if causes else text.splitlines()[0] if text else "",
        line=int(line[1]) if line else 1,
    )


def problems(aggregate: Aggregate, engine: Engine, answer: Answer) -> Iterator[tuple[int, str]]:
    """(line, what is wrong)."""
    if render(aggregate, engine).count("\n") != aggregate.query.rstrip().count("\n"):
        yield 1, "a macro's call spans lines, so that no line of the engine's is one of the file's: write it on one"
    if answer.problem:
        yield answer.line, answer.problem
        return
    last = aggregate.query.rstrip().count("\n") + 1
    if list(answer.columns) != list(aggregate.columns):
        yield last, f"gives {', '.join(answer.columns)}, and aggregate.toml has {', '.join(aggregate.columns)}"
        return
    for name, column in aggregate.columns.items():
        kind = answer.columns[name].lower().removesuffix(" not null")
        if not fits(kind, column.type):
            yield line_of(aggregate, name), f"{name} is {kind}, which aggregate.toml has as {column.type}"


def fits(kind: str, wanted: str) -> bool:
    """Does every value of an engine's type fit the logical type?"""
    scale = SCALES.get(wanted)
    if scale is None:
        return re.fullmatch(FITTING[wanted], kind) is not None
    digits = re.fullmatch(r"decimal\((\d+), ?(\d+)\)", kind)
    return digits is not None and int(digits[2]) <= scale and int(digits[1]) - int(digits[2]) <= 38 - scale


def line_of(aggregate: Aggregate, column: str) -> int:
    """The last line that names the column."""
    lines = aggregate.query.splitlines()
    named = [number for number, line in enumerate(lines, start=1) if re.search(rf"\b{column}\b", line)]
    return named[-1] if named else len(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
