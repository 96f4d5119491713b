"""dbt's documentation of the marts as one page, without a database: ``dbt_docs.py FOLDER`` writes ``index.html``.

It has every model, column, test and the lineage. Sizes of tables are the only thing it leaves to `insights dbt docs`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from insights.dbt_run import DBT, project_environment


def _dbt(target: Path, *arguments: str) -> None:
    done = subprocess.run(
        [DBT, "--quiet", *arguments],
        env=project_environment("dev", compiled=target, logs=target),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"dbt documents nothing:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def main(folder: Path) -> None:
    """Ends the program with dbt's message if there is no documentation."""
    with tempfile.TemporaryDirectory() as work:
        target = Path(work)
        _dbt(target, "compile", "--no-introspect", "--no-populate-cache")
        _dbt(target, "docs", "generate", "--static", "--empty-catalog", "--no-compile")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target / "static_index.html", folder / "index.html")
    print(f"{folder / 'index.html'}: the documentation of the marts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
