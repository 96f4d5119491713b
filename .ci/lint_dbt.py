"""Compiles dbt's project for both targets, without a database, and lints the SQL as each of them gets it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import offline_dbt
from sqlfluff.core import FluffConfig, Linter

DIALECTS = {"dev": "postgres", "prod": "athena"}
# What is no mistake in SQL that dbt has put together; ambiguous names are Postgres' collation "C".
NOT_HERE = "layout, references.qualification, structure.subquery"


def compiled(target: str, folder: Path) -> list[Path]:
    """The models' SQL for a target. Ends the program with dbt's message if there is none."""
    offline_dbt.run(target, folder, *offline_dbt.COMPILE, "--select", "resource_type:model")
    return sorted((folder / "compiled").rglob("models/**/*.sql"))


def main() -> int:
    """Print ``path: [dialect] rule: what is wrong`` of each violation; 1 when there is one."""
    found = 0
    for target, dialect in DIALECTS.items():
        config = FluffConfig.from_root(overrides={"dialect": dialect})
        excluded = f"{config.get('exclude_rules')}, {NOT_HERE}"
        linter = Linter(config=FluffConfig.from_root(overrides={"dialect": dialect, "exclude_rules": excluded}))
        with tempfile.TemporaryDirectory() as folder:
            for path in compiled(target, Path(folder)):
                linted = linter.lint_string(path.read_text().strip() + "\n")
                for violation in linted.get_violations():
                    name = path.as_posix().rpartition("/models/")[2]
                    print(f"dbt/models/{name}: [{dialect}] {violation.rule_code()}: {violation.desc()}")
                    found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
