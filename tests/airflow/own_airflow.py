"""An Airflow of a test's own: the locked environment, with its home in a temporary folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from insights.settings import PROJECT

BIN = PROJECT / ".venv-airflow" / "bin"
DAGS = PROJECT / "airflow" / "dags"
SECONDS = 400


def run_airflow(home: Path, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of Airflow's environment. Its home is its own, its database SQLite, and it reports to nobody."""
    if not BIN.is_dir():
        raise AssertionError("Airflow's environment is missing: `python3 bootstrap.py airflow` makes it")
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    return subprocess.run(
        [str(BIN / program), *arguments],
        cwd=home,
        env={**inherited, **own, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
