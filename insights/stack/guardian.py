"""The two processes behind `insights up`: a guardian and a supervisor, each of which brings the other back.

``python -m insights.stack.guardian HOME`` runs the guardian, which does nothing but look after the supervisor.
``python -m insights.stack.guardian HOME supervise`` runs the supervisor.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

from insights.settings import PROJECT, Settings
from insights.stack import process
from insights.stack.java import plain_environment
from insights.stack.layout import Layout
from insights.stack.supervisor import TICK_SECONDS, Supervisor, only_one, read_wanted, say

Role = Literal["guardian", "supervisor"]
LOOK_EVERY_SECONDS = 0.5
REST_SECONDS = 2.0
"""Between two starts of the other, so that one that can't run does not spin."""


def ensure(layout: Layout, role: Role) -> None:
    """Starts the guardian or the supervisor unless it runs."""
    record = process.read_record(layout.record(role))
    if record and record.alive:
        return
    command = [sys.executable, "-m", "insights.stack.guardian", str(layout.home)]
    process.spawn(
        [*command, "supervise"] if role == "supervisor" else command,
        environment=plain_environment() | {process.MARK: process.mark(layout.home, role)},
        folder=PROJECT,
        log=layout.log("supervisor"),
    )


def saved_settings(home: Path) -> Settings:
    """The settings that the stack in this home was started with. Raises OSError when it never was."""
    return Settings.model_validate_json((home / "run" / "settings.json").read_text())
