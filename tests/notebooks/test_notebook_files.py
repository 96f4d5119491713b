"""What is committed of a notebook: its text and code, and nothing of a run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.notebooks.executing import NOTEBOOKS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
DOCUMENT = (NOTEBOOKS.parent / "docs" / "notebooks.md").read_text()
pytestmark = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    run = [cell.id for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert not run, f"{path.name}: clear the outputs of all cells (Edit, Clear Outputs of All Cells)"


def test_a_notebook_is_in_its_document(path: Path) -> None:
    assert f"(../notebooks/{path.name})" in DOCUMENT


def test_a_notebook_begins_with_its_title(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
