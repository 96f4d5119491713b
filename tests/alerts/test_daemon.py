"""The daemon as a process: its output, and what a kill -9 at the worst moment costs."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alerts.channels import ChannelSettings
from alerts.config import DaemonConfig
from insights.settings import PROJECT
from tests.alerts.made_rules import write
from tests.alerts.receivers import Inbox
from tests.conftest import free_ports


class Daemon:
    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self._log = log
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alerts", "--config", str(self._config), "--port", str(self.port)],
                cwd=PROJECT,
                env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.URLError:
            return {}

    def metrics(self) -> set[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return {line for line in answer.read().decode().splitlines() if not line.startswith("#")}

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def daemon(dsn: str, tmp_path: Path, inbox: Inbox) -> Iterator[Daemon]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table shelves (label text)")
    write(tmp_path / "rules", every="1s")
    channels = ChannelSettings(webhook_url=inbox.url, webhook_secret="s3cret")
    DaemonConfig(dsn=dsn, rules=tmp_path / "rules", channels=channels, step_seconds=0.2).write(tmp_path / "c.json")
    daemon = Daemon(tmp_path / "c.json", tmp_path / "daemon.log")
    daemon.start()
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.kill()


def shelve(dsn: str, *labels: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate shelves")
        for label in labels:
            connection.execute("insert into shelves values (%s)", (label,))


def test_the_daemon_notifies_reports_its_health_and_ends_when_asked(
    daemon: Daemon, dsn: str, inbox: Inbox, until: Callable[..., Any]
) -> None:
    until(lambda: daemon.health().get("watching"), what=daemon.said)
    assert daemon.health()["rules"] == 1
    counts = {f"insights_alerts_{name}" for name in ("watching 1.0", "rules 1.0", "rules_broken 0.0")}
    assert counts <= daemon.metrics()
    shelve(dsn, "helmets")
    until(lambda: inbox.bodies, what=daemon.said)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said
    assert not any(secret in daemon.said for secret in ("T0SECRET", "s3cret", "insights:insights"))


def test_killed_before_it_could_note_that_a_message_was_taken_it_sends_it_once_more_and_no_more(
    daemon: Daemon, dsn: str, inbox: Inbox, until: Callable[..., Any]
) -> None:
    def kill_once(body: dict[str, Any]) -> None:
        inbox.on_message = lambda body: None
        daemon.kill()

    inbox.on_message = kill_once
    until(lambda: daemon.health().get("watching"), what=daemon.said)
    shelve(dsn, "helmets")
    until(lambda: len(inbox.bodies) == 1 and daemon.process and daemon.process.poll() is not None, what=daemon.said)
    daemon.start()
    until(lambda: len(inbox.bodies) == 2, what=daemon.said)
    shelve(dsn)
    until(lambda: inbox.messages[-1]["kind"] == "recovered", what=daemon.said)
    assert [message["kind"] for message in inbox.messages] == ["fired", "fired", "recovered"]
    assert inbox.messages[0]["id"] == inbox.messages[1]["id"]


def test_its_config_is_readable_by_its_owner_only_and_rejected_without_showing_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    DaemonConfig(dsn="postgresql://u:T0SECRET@h/d").write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "T0SECRET" not in repr(DaemonConfig.read(path))
    path.write_text('{"dsn": "postgresql://u:T0SECRET@h/d", "channels": {"slack": "T0SECRET"}}')
    done = subprocess.run(
        [sys.executable, "-m", "alerts", "--config", str(path), "--port", "1"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"insights alerts: {path} is not a valid configuration of the alert daemon: channels.slack: "
    )
    assert "T0SECRET" not in done.stderr
