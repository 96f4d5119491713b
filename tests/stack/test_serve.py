"""A server in the foreground, as a container of its own runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from insights.settings import PROJECT, Settings
from insights.stack.serve import SERVERS
from tests.conftest import environment_of, wait_until

pytestmark = pytest.mark.engine
LOGGED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO  .+$", re.MULTILINE)


@contextmanager
def running(command: Sequence[str | Path], environment: Mapping[str, str], output: Path) -> Iterator[None]:
    """The process, until the block ends, with all that it says in a file."""
    with output.open("wb") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("server", ["jobmanager", "taskmanager", "kafka"])
def test_what_a_server_logs_is_on_its_output_in_the_foreground_and_in_its_file_alone_in_the_stack(
    server: str, apart: Callable[..., Settings], tmp_path: Path
) -> None:
    settings, said = apart(tmp_path / "home"), tmp_path / "said"
    log = settings.logs_dir / f"{server}.log"
    served = [Path(sys.executable).with_name("insights"), "serve", server]
    with running(served, {**os.environ, **environment_of(settings)}, said):
        lines = wait_until(lambda: LOGGED.findall(said.read_text()), seconds=60, what=f"{server} says something")
        wait_until(lambda: lines[0] in log.read_text(), what="it is in the file, too")
    log.unlink()
    part = SERVERS[server](settings)
    with running(part.command, part.environment, said):
        wait_until(lambda: log.exists() and LOGGED.search(log.read_text()), seconds=60, what=f"{server} logs")
        assert LOGGED.search(said.read_text()) is None


LOADS = """
import json, sys
from importlib.metadata import packages_distributions
import insights.cli.main, insights.cli.serve_command, insights.stack.serve
of = packages_distributions()
print(json.dumps(sorted({name for module in sys.modules for name in of.get(module.partition(".")[0], ())})))
"""


# What requests loads only where it is there.
OPTIONAL = {"chardet", "pysocks", "setuptools", "simplejson"}


def test_what_starts_a_server_needs_no_more_than_the_images_of_servers_have() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], cwd=PROJECT, capture_output=True, text=True, check=True)
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (PROJECT / "requirements" / "servers.txt").read_text(), re.M))
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(done.stdout)} - OPTIONAL <= locked
