"""dbt's documentation of the marts as one page, without a database: ``dbt_docs.py FOLDER`` writes ``index.html``.

It has every model, column, test and the lineage. Sizes of tables are the only thing it leaves to `insights dbt docs`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import offline_dbt


def main(folder: Path) -> None:
    """Ends the program with dbt's message if there is no documentation."""
    with tempfile.TemporaryDirectory() as work:
        target = Path(work)
        offline_dbt.run("dev", target, *offline_dbt.COMPILE)
        offline_dbt.run("dev", target, "docs", "generate", "--static", "--empty-catalog", "--no-compile")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target / "static_index.html", folder / "index.html")
    print(f"{folder / 'index.html'}: the documentation of the marts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
