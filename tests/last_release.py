"""The release before, whose data folders this one must take, as it stands in the history."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from insights.settings import PROJECT

LAST_RELEASE = "9b94d341aa148824905542e1e7158f078adf03e8"
"""There are no tags yet: a release sets this to the commit of the one before."""
GIT = ("git", "-C", str(PROJECT))


def check_there() -> None:
    """Fails where the history does not have it: a test that is left out proves nothing."""
    known = subprocess.run([*GIT, "cat-file", "-e", f"{LAST_RELEASE}^{{commit}}"], capture_output=True, check=False)
    if known.returncode:
        pytest.fail(f"the history lacks {LAST_RELEASE}, the last release: run `git fetch --unshallow`, then this again")


def unpack(of: str, folder: Path) -> Path:
    """A folder of it, as it was."""
    check_there()
    packed = subprocess.run([*GIT, "archive", LAST_RELEASE, of], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder / of
