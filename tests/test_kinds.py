"""How a run with two workers deals its tests: a real run of pytest, on tests that note what happens to them."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until

PROJECT = Path(__file__).parent.parent
CONFTEST = """
import os
import pytest
from pathlib import Path

def note(what):
    with (Path(__file__).parent / "notes").open("a") as notes:
        notes.write(f"{os.environ['PYTEST_XDIST_WORKER']} {what}" + chr(10))

@pytest.fixture(scope="session")
def stack(my_turn):
    note("up")
    yield
    note("down")

@pytest.fixture(scope="module")
def user(stack):
    yield
    note("last use")

@pytest.fixture(autouse=True)
def noted(request):
    note(request.node.name)
"""
MODULES = {
    "test_sales.py": "def test_sales_unit(): pass\ndef test_sales_stack(user): pass\n",
    "test_stock.py": "def test_stock_stack(user): pass\ndef test_stock_stack_too(user): pass\n",
    "test_own.py": "def test_own_stack(my_turn): pass\n",
    "test_plain.py": "\n".join(f"def test_plain_{n}(): pass" for n in range(5)),
    "test_rows.py": "\n".join(f"def test_rows_{n}(new_database): pass" for n in range(5)),
}
OPTIONS = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "2", "--dist=loadgroup", "--no-loadscope-reorder"]


def run(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    settled = ["-c", str(PROJECT / "pyproject.toml"), "-o", "addopts=--import-mode=importlib", "-o", "log_file="]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *OPTIONS, *settled, f"--basetemp={folder / 't'}", *options, str(folder)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def notes(folder: Path) -> list[tuple[str, str]]:
    """Worker and what it noted, in the order of time."""
    file = folder / "notes"
    return [(line.split()[0], line.split(" ", 1)[1]) for line in file.read_text().splitlines()] if file.exists() else []


def test_all_that_uses_the_runs_stack_is_one_workers_and_the_stack_ends_with_the_last_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        output, _ = run(folder).communicate(timeout=120)
    assert "15 passed" in output, output
    found = notes(folder)
    (worker,) = {who for who, what in found if what == "up"}
    of_stack = [what for who, what in found if who == worker]
    of_stack = of_stack[of_stack.index("up") : of_stack.index("down") + 1]
    assert sorted(what for what in of_stack if what.startswith("test_")) == [
        *("test_sales_stack", "test_stock_stack", "test_stock_stack_too"),
    ]
    assert of_stack[-2:] == ["last use", "down"]
    assert [what for _, what in found].count("up") == 1
    for module in ("plain", "rows"):
        assert len({who for who, what in found if what.startswith(f"test_{module}")}) == 1, "a module is not divided"


def test_a_run_waits_for_its_turn_when_another_has_a_stack_and_not_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "insights-hub-tests.lock").open("w") as other:
        patch.setenv("TMPDIR", str(tmp_path))
        fcntl.flock(other, fcntl.LOCK_EX)
        output, _ = run(folder, "-m", "unit").communicate(timeout=120)
        assert "6 passed" in output, output
        waiting = run(folder, "-m", "stack")
        lock = str(tmp_path / "insights-hub-tests.lock")
        wait_until(lambda: waits_for(lock, waiting.pid), what="it waits for the lock")
        assert not any("stack" in what for _, what in notes(folder))
        fcntl.flock(other, fcntl.LOCK_UN)
        output, _ = waiting.communicate(timeout=120)
    assert "4 passed" in output, output


def waits_for(lock: str, pid: int) -> bool:
    """Does that process wait for a lock on the file? As the kernel lists it: ``-> FLOCK … PID MAJOR:MINOR:INODE …``."""
    inode = str(Path(lock).stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" in words and str(pid) in words and any(word.endswith(f":{inode}") for word in words):
            return True
    return False
