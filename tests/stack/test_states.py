"""What is known of parts and tasks, with and without a supervisor."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from insights.stack import down, part_states
from insights.stack.part import Part, Task
from insights.stack.process_record import Record, read_state
from insights.stack.supervisor import Supervisor

TOPICS = Task(name="topics", run=lambda: "9 existed", after=("kafka",))
KAFKA = Part(
    name="kafka", command=("/bin/false",), environment={}, healthy=lambda: False, endpoint="", after=("never",)
)
NEVER = Task(name="never", run=lambda: "", after=("never",))


def test_a_supervisor_notes_which_are_tasks(tmp_path: Path) -> None:
    Supervisor([NEVER, KAFKA, TOPICS], run_dir=tmp_path, logs_dir=tmp_path).tick(0.0)
    assert {name: record.is_task for name, record in read_state(tmp_path).items()} == {
        "never": True,
        "kafka": False,
        "topics": True,
    }


def test_a_stopped_stack_still_distinguishes_parts_and_tasks(apart: Any, tmp_path: Path) -> None:
    settings = apart(tmp_path / "home")
    settings.run_dir.mkdir(parents=True)
    states = {"kafka": Record(endpoint=str(settings.kafka)), "topics": Record(state="done", is_task=True)}
    (settings.run_dir / "state.json").write_text(json.dumps({name: asdict(record) for name, record in states.items()}))
    down(settings, lambda step: None)
    assert [(part.name, part.state, part.is_task) for part in part_states(settings)] == [
        ("supervisor", "stopped", False),
        ("kafka", "stopped", False),
        ("topics", "stopped", True),
    ]


def test_a_part_whose_children_end_while_it_is_looked_at_runs_all_the_same(apart: Any, tmp_path: Path) -> None:
    """As Postgres' do, one a connection, and a JVM's that asks the system something."""
    settings = apart(tmp_path / "home")
    settings.run_dir.mkdir(parents=True)
    with subprocess.Popen(["/bin/bash", "-c", "while :; do /bin/true & /bin/true; done"]) as parent:
        try:
            record = Record(state="running", pid=parent.pid, started=psutil.Process(parent.pid).create_time())
            (settings.run_dir / "state.json").write_text(json.dumps({"postgres": asdict(record)}))
            looks = [part_states(settings)[1] for _ in range(100)]
        finally:
            parent.kill()
    assert {(part.state, part.healthy, part.pid) for part in looks} == {("running", True, parent.pid)}


FAMILY = """
import mmap, os, time
shared = mmap.mmap(-1, 200_000_000)  # as Postgres' processes share their buffers
shared.write(bytes(200_000_000))
if os.fork() == 0:
    own = b"x" * 80_000_000
    sum(shared[::4096])
    print("ready", flush=True)
    time.sleep(60)
os.wait()
"""


def test_a_parts_memory_has_its_childrens_and_not_what_they_share(apart: Any, tmp_path: Path) -> None:
    settings = apart(tmp_path / "home")
    settings.run_dir.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as parent:
        process = psutil.Process(parent.pid)
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "ready\n"
            record = Record(state="running", pid=parent.pid, started=process.create_time())
            (settings.run_dir / "state.json").write_text(json.dumps({"postgres": asdict(record)}))
            memory = part_states(settings)[1].memory_mb
        finally:
            for each in [*process.children(), process]:
                each.kill()
    assert memory is not None
    assert 80 < memory < 160
