from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "aggregates",
    "alerts",
    "dashboards",
    "flink",
    "insights",
    "processes",
    "producers",
    "reconciliation",
    "replay",
    "schemas",
    "spark",
    "warehouse",
)


@pytest.mark.parametrize("folder", ["airflow", "dbt", "docker", "terraform", "tests"])
def test_a_folder_that_could_shadow_an_installed_package_is_no_package(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_packages_docstring_states_its_purpose_and_what_it_must_not_know(package: str) -> None:
    for module in (ROOT / package).rglob("__init__.py"):
        said = ast.get_docstring(ast.parse(module.read_text())) or ""
        assert "know" in said, module


def test_no_top_level_name_is_one_of_the_standard_library() -> None:
    names = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not names & sys.stdlib_module_names
