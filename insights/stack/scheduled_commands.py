"""Commands that the stack runs every so often, in a process of their own: what that takes of memory is given back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from insights.settings import PROJECT, Settings

INSIGHTS = (sys.executable, "-m", "insights")
KINDER = 10


class Upkeep:
    """``step`` is called every minute or so and blocks while the command runs. Its words: ``logs/NAME.out``."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        every_minutes: float,
        command: Sequence[str],
        *,
        first_after_seconds: float | None = None,
    ) -> None:
        self._command = command
        self._first_after_seconds = first_after_seconds
        self._every_seconds = every_minutes * 60
        self._began = settings.run_dir / f"upkeep-{name}"
        self._log = settings.logs_dir / f"{name}.out"
        values = settings.model_dump(mode="json", exclude_none=True)
        own = {Settings.variable(name): str(value) for name, value in values.items()}
        self._environment = {**os.environ, **own, "PYTHONPATH": str(PROJECT)}

    def step(self) -> bool:
        """Always True. A run that fails is not repeated at once: the next one does what is left."""
        if self._is_due(time.time()):
            self._began.touch()
            self._run()
        return True

    def _is_due(self, now: float) -> bool:
        """The first time is that long after the stack was first up, or sooner; however often it was down since."""
        if not self._began.exists():
            self._began.touch()
            if self._first_after_seconds is not None:
                as_if = now - self._every_seconds + self._first_after_seconds
                os.utime(self._began, (as_if, as_if))
        return now - self._began.stat().st_mtime >= self._every_seconds

    def _run(self) -> None:
        rotate(self._log)
        with self._log.open("ab") as log:
            subprocess.run(
                ["nice", "-n", str(KINDER), *self._command],  # the live job goes first
                env=self._environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )


def rotate(log: Path, most_bytes: int = 5_000_000) -> None:
    """A log that is too long makes room for a new one, and stays beside it until the next time."""
    if log.exists() and log.stat().st_size > most_bytes:
        log.replace(log.with_suffix(".out.1"))
