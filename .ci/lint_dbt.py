"""Compiles dbt's project for both targets, without a database, and lints the SQL as each of them gets it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from sqlfluff.core import FluffConfig, Linter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from insights.dbt_run import DBT, project_environment

DIALECTS = {"dev": "postgres", "prod": "athena"}
# What is no mistake in SQL that dbt has put together; ambiguous names are Postgres' collation "C".
NOT_HERE = "layout, references.qualification, structure.subquery"


def compiled(target: str, folder: Path) -> list[Path]:
    """The models' SQL for a target. Ends the program with dbt's message if there is none."""
    done = subprocess.run(
        [DBT, "--quiet", "compile", "--no-introspect", "--no-populate-cache", "--select", "resource_type:model"],
        env=project_environment(target, compiled=folder, logs=folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"dbt does not compile for {target}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
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
