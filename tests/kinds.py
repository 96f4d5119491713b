"""What kind a test is, by what it uses, and which tests go together to one worker.

Nobody writes these marks: a test that asks for a fixture of a stack is one of a stack. One that starts an engine, dbt
or a browser by other means than a fixture says so: ``pytestmark = pytest.mark.engine``.
"""

from __future__ import annotations

from typing import Any

import pytest

KINDS = ("unit", "postgres", "engine", "stack")
STACK = "stack"
INTERPRETERS = "flink and spark"
# Fixtures, where they come from a folder's conftest or are of a module's own.
ENGINES = {"flink", "spark", "dbt", "browse", "java", "compiler", "emr"}
POSTGRES = {"shared_postgres", "server", "bare_postgres"}
# What takes a minute or more, the longest first, so that neither worker is left with a long one at the end. A stack at
# a time for each worker: the run's one stack ends with the last test that uses it.
LONGEST = (
    "tests/e2e/test_exact_totals.py",
    STACK,
    "tests/replay/test_on_a_stack.py",
    INTERPRETERS,
    "tests/e2e/test_hand_over.py",
    "tests/e2e/test_real_history.py",
    "tests/e2e/test_poison.py",
    "tests/web/test_page.py",
    "tests/marts/test_by_day.py",
    "tests/web/test_marts_pages.py",
    "tests/marts/test_prod.py",
)


def fixture_of(item: pytest.Item, name: str) -> Any:
    """The definition of a fixture that the test gets, or None."""
    definitions = item._fixtureinfo.name2fixturedefs.get(name) if isinstance(item, pytest.Function) else None
    return definitions[-1] if definitions else None


def kind(item: pytest.Item) -> str:
    """The costliest of what the test uses; its own mark takes precedence."""
    for name in reversed(KINDS):
        if item.get_closest_marker(name):
            return name
    fixtures = set(getattr(item, "fixturenames", ()))
    if "my_turn" in fixtures:
        return "stack"
    if any((found := fixture_of(item, name)) and found.scope != "function" for name in ENGINES & fixtures):
        return "engine"
    return "postgres" if POSTGRES & fixtures else "unit"


def group(item: pytest.Item) -> str:
    """Of the tests that run one after the other in one worker.

    All that share the run's one stack, all that share its one Flink or Spark without a cluster, or a module's.
    """
    if _is_shared(item, "stack"):
        return STACK
    if _is_shared(item, "flink") or _is_shared(item, "spark"):
        return INTERPRETERS
    module = item.nodeid.partition("::")[0]
    return f"{module}:{STACK}" if kind(item) == "stack" else module


def _is_shared(item: pytest.Item, name: str) -> bool:
    found = fixture_of(item, name)
    return found is not None and found.scope == "session"


def is_of_a_stack(name: str) -> bool:
    """Does this group have a stack, the run's or one of its own?"""
    return name.endswith(STACK)


def place(name: str) -> int:
    """Where a group goes in the run."""
    name = name.removesuffix(f":{STACK}")
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
