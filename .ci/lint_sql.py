"""Lints every aggregate's query.sql as each engine gets it: rendered, in that engine's own dialect."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlfluff.core import FluffConfig, Linter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aggregates.catalogue import aggregates
from aggregates.render import Engine, render

# The linter's Flink has no floor(time to unit), so it is shown a function it knows.
FLOOR = re.compile(r"floor\((\w+) to (\w+)\)")
DIALECTS = {Engine.FLINK: "flink", Engine.SPARK: "sparksql"}


def main() -> int:
    """Print ``path:line: [dialect] rule: what is wrong`` of each violation; 1 when there is one."""
    found = 0
    for engine, dialect in DIALECTS.items():
        linter = Linter(config=FluffConfig.from_root(overrides={"dialect": dialect}))
        for aggregate in aggregates():
            linted = linter.lint_string(FLOOR.sub(r"date_trunc('\2', \1)", render(aggregate, engine)) + "\n")
            for violation in linted.get_violations():
                path = f"aggregates/{aggregate.name}/query.sql"
                print(f"{path}:{violation.line_no}: [{dialect}] {violation.rule_code()}: {violation.desc()}")
                found += 1
    print(f"{len(aggregates())} queries in {len(DIALECTS)} dialects, {found} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
