from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from insights.settings import PROJECT

LOCKED = ("main.txt", "dev.txt")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / "bootstrap.py", tmp_path)
    shutil.copy(PROJECT / "Makefile", tmp_path)
    shutil.copytree(PROJECT / "requirements", tmp_path / "requirements")
    return tmp_path


def bootstrap(project: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import bootstrap, sys\n{code}"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_an_unsupported_python_is_reported_in_one_sentence_with_how_to_choose_another(project: Path) -> None:
    done = bootstrap(project, "sys.version_info = (3, 13, 0); bootstrap.main(['main'])")
    assert done.returncode == 1
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert "make up PYTHON=python3.12" in done.stderr
    assert "Traceback" not in done.stderr


def stamp(project: Path, *files: str) -> None:
    (project / ".venv").mkdir(exist_ok=True)
    done = bootstrap(project, f"print(bootstrap.fingerprint({files!r}))")
    (project / ".venv" / ".installed").write_text(done.stdout.strip())


def test_an_environment_as_locked_is_left_alone(project: Path) -> None:
    stamp(project, "main.txt")
    done = bootstrap(project, "bootstrap.main(['main'])")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_development_environment_will_do_for_running(project: Path) -> None:
    stamp(project, "dev.txt", "cdnow.txt", "axe.txt")
    done = bootstrap(project, "bootstrap.main(['main'])")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_lock_is_installed_again(project: Path) -> None:
    stamp(project, "main.txt")
    with (project / "requirements" / "main.txt").open("a") as lock:
        lock.write("# changed\n")
    done = bootstrap(project, "bootstrap.ensure_uv = lambda: sys.exit('installs'); bootstrap.main(['main'])")
    assert done.stderr.strip() == "installs"


def test_whatever_the_program_needs_has_the_same_version_in_both_environments() -> None:
    main, dev = ({line.split()[0] for line in lines(file) if "==" in line} for file in LOCKED)
    assert main <= dev


def lines(file: str) -> list[str]:
    return (PROJECT / "requirements" / file).read_text().splitlines()


def test_the_makefile_lists_what_it_can_do(project: Path) -> None:
    done = subprocess.run(["make"], cwd=project, capture_output=True, text=True, check=True, timeout=300)
    for target in ("up", "down", "clean", "status", "test", "check", "lock"):
        assert f"make {target} " in done.stdout
