"""A process that is killed where it hurts most; the next one goes on from what is on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.producers.pipelines.test_reading import ORDERS, Rows, an_order

KILLED = """
import json, os, signal, sys
from pathlib import Path

import tests.producers.pipelines.test_reading as reading
from dlt import Pipeline

def end(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

class Killed(reading.Kept):
    def flush(self, deadline_seconds=1):
        ids = [each["event_id"] for each in self.records(reading.ORDERS)]
        (folder / "sent.json").write_text(json.dumps(ids))
        if ids:
            end()

folder = Path(sys.argv[1])
if sys.argv[2] == "before it publishes":
    Pipeline.load = end
orders = reading.Rows(folder, "sales.order_placed", "order_id")
orders.read(Killed(orders.clock))
"""


@pytest.mark.parametrize(("when", "sent"), [("before it publishes", 0), ("before it notes what Kafka has", 2)])
def test_rows_that_were_read_before_a_kill_are_published_as_they_would_have_been(
    tmp_path: Path, when: str, sent: int
) -> None:
    orders = Rows(tmp_path, "sales.order_placed", "order_id")
    orders.have(an_order(1), an_order(2))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), when],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    orders.have()
    orders.read()
    published = [each["event_id"] for each in orders.records(ORDERS)]
    assert [each["order_id"] for each in orders.records(ORDERS)] == ["1", "2"]
    if sent:
        assert json.loads((tmp_path / "sent.json").read_text()) == published
