"""dbt without a database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from insights.dbt_run import DBT, project_environment

COMPILE = ("compile", "--no-introspect", "--no-populate-cache")


def run(target: str, folder: Path, *arguments: str) -> None:
    """Writes to the folder. Ends the program with dbt's message where it fails."""
    done = subprocess.run(
        [DBT, "--quiet", *arguments],
        env=project_environment(target, compiled=folder, logs=folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"dbt {arguments[0]} fails for {target}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
