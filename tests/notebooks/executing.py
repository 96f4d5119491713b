"""Notebooks as they are committed, executed in a kernel of their own."""

from __future__ import annotations

import json
import os
from typing import Any

import nbformat
from nbclient import NotebookClient

from insights.settings import PROJECT, Settings
from tests.conftest import environment_of

NOTEBOOKS = PROJECT / "notebooks"
CELL_SECONDS = 120


def executed(name: str, settings: Settings, **wanted: str) -> dict[str, Any]:
    """Runs all cells. Returns the values of some expressions after that, by name; what JSON lacks as its text."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    values = ", ".join(f"{key!r}: {expression}" for key, expression in wanted.items())
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{values}}}, default=str))"))
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=folder)
    client.execute(env={**os.environ, **environment_of(settings)})
    found: dict[str, Any] = json.loads(notebook.cells[-1].outputs[0].text)
    return found
