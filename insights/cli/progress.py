"""Shows the steps of `up` and `down`: alive on a terminal, a line each anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from insights.cli.terminal_table import Column, TerminalTable
from insights.stack import Step

PLAIN_EVERY_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class _Row:
    began: float
    detail: str
    spinner: Spinner
    took: float | None = None


class _Steps:
    """The steps so far, redrawn several times a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()

    def report(self, step: Step) -> None:
        """Takes note of a step. From any thread."""
        with self._lock:
            row = self._rows.get(step.name)
            if row is None or (step.state == "started" and row.took is not None):
                row = self._rows[step.name] = _Row(
                    began=self._clock(), detail="", spinner=Spinner("dots", style="cyan")
                )
            row.detail = step.detail or ("" if step.state == "done" else row.detail)
            row.took = self._clock() - row.began if step.state == "done" else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sheet = TerminalTable("", Column(), Column(), Column(right=True, at_least=7), Column(flows=True))
        with self._lock:
            for name, row in self._rows.items():
                mark = row.spinner.render(console.get_time()) if row.took is None else Text("✓", style="green")
                assert isinstance(mark, Text)  # a spinner without a text
                seconds = self._clock() - row.began if row.took is None else row.took
                sheet.add(mark, Text(name, style="bold"), Text(f"{seconds:.1f} s", style="dim"), row.detail)
        yield sheet


class _Lines:
    """A line for each step that begins or ends; of progress in between, one every few seconds."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def report(self, step: Step) -> None:
        """Print a step, if it is worth a line. From any thread."""
        with self._lock:
            now = self._clock()
            began = self._began.setdefault(step.name, now)
            if step.state == "progress" and now - self._said.get(step.name, 0) < PLAIN_EVERY_SECONDS:
                return
            self._said[step.name] = now
            parts = [step.name, f"done in {now - began:.1f} s" if step.state == "done" else "", step.detail]
            line = ": ".join(part for part in parts if part)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            if step.state == "done":
                del self._began[step.name]


@contextmanager
def steps(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[Step], None]]:
    """Gives the function to report steps to, for as long as the block lasts."""
    if not console.is_terminal:
        yield _Lines(console, clock).report
        return
    shown = _Steps(clock)
    with Live(shown, console=console, refresh_per_second=10, vertical_overflow="visible"):
        yield shown.report
