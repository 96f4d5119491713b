"""dlt's statistics about its use are never sent, in a process that reads a pipeline as `insights produce` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

READING = """
import json, socket, sys
from pathlib import Path

asked = []

def nowhere(host, *arguments, **options):
    asked.append(host)
    raise socket.gaierror("no names in this test")

socket.getaddrinfo = nowhere

from tests.producers.pipelines.conftest import Pipeline

FILE = '''
import dlt

NAME = "bikes"
EVENTS = {"rows": "sales.order_placed"}

def read():
    return dlt.resource([], name="rows", primary_key="order_id")
'''
Pipeline(Path(sys.argv[1]), FILE).read()

from dlt.common.runtime import anon_tracker, telemetry

telemetry.stop_telemetry()  # what waits to be sent is sent
print(json.dumps([anon_tracker._ANON_TRACKER_ENDPOINT, asked]))
"""


def test_a_reading_sends_no_statistics_and_asks_for_no_host_also_when_dlts_own_files_want_it(tmp_path: Path) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text("[runtime]\ndlthub_telemetry = true\n")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "HOME": str(tmp_path), "RUNTIME__DLTHUB_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [None, []]
    assert not (tmp_path / ".dlt" / ".anonymous_id").exists()
