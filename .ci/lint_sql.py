"""Lints every query.sql as each engine gets it, rendered, in that engine's own dialect: ``lint_sql.py [FOLDER …]``.

DuckDB is here, and so it plans each query over empty tables as well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
from sqlfluff.core import FluffConfig, Linter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aggregates.catalogue import Aggregate, aggregates, read_aggregate
from aggregates.render import Engine, render
from replay.duckdb.views import empty, views
from schemas.catalogue import event

# The linter's Flink has no floor(time to unit), so it is shown a function it knows.
FLOOR = re.compile(r"floor\((\w+) to (\w+)\)")
DIALECTS = {Engine.FLINK: "flink", Engine.SPARK: "sparksql", Engine.DUCKDB: "duckdb"}


def unplanned(aggregate: Aggregate) -> Iterator[tuple[int, str]]:
    """Line and reason when DuckDB can't plan the query, or its columns are not those of aggregate.toml."""
    with duckdb.connect(":memory:") as database:
        for e in map(event, aggregate.inputs):
            for statement in (empty(e.table, e.avro_schema), *views(e.table, e.avro_schema, e.versions)):
                database.execute(statement)
        try:
            columns = [row[0] for row in database.execute(f"describe {render(aggregate, Engine.DUCKDB)}").fetchall()]
        except duckdb.Error as error:
            line = re.search(r"^LINE (\d+):", str(error), re.MULTILINE)
            yield int(line[1]) if line else 1, str(error).split("\n", 1)[0]
            return
    if columns != list(aggregate.columns):
        yield 1, f"gives the columns {', '.join(columns)}, and aggregate.toml has {', '.join(aggregate.columns)}"


def main(folders: list[str]) -> int:
    """Print ``path:line: [dialect] rule: what is wrong`` of each violation; 1 when there is one."""
    chosen = [read_aggregate(Path(folder)) for folder in folders] or list(aggregates())
    found = 0
    for engine, dialect in DIALECTS.items():
        linter = Linter(config=FluffConfig.from_root(overrides={"dialect": dialect}))
        for aggregate in chosen:
            linted = linter.lint_string(FLOOR.sub(r"date_trunc('\2', \1)", render(aggregate, engine)) + "\n")
            for violation in linted.get_violations():
                path = f"aggregates/{aggregate.name}/query.sql"
                print(f"{path}:{violation.line_no}: [{dialect}] {violation.rule_code()}: {violation.desc()}")
                found += 1
    for aggregate in chosen:
        for line, reason in unplanned(aggregate):
            print(f"aggregates/{aggregate.name}/query.sql:{line}: [duckdb] {reason}")
            found += 1
    print(f"{len(chosen)} queries in {len(DIALECTS)} dialects, {found} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
