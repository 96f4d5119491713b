"""Pipelines that are run as their source runs them, with what they publish kept here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from dlt.common.runtime import anon_tracker
from dlt.load import Load

from producers.pipelines import source as pipelines
from producers.runner import Options, Run, Stop
from producers.sources import source
from tests.producers.connect.kept import Kept


class Clock:
    """Goes a second with each look."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Pipeline:
    """A pipeline file in a folder, which is read again and again; ``log`` has all that was ever published."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "pipeline.py"
        self.folder = folder
        self.clock = Clock()
        self.log = Kept(self.clock)
        self.write(text)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self, publisher: Kept | None = None) -> Any:
        """Read it once, as a process of its own would. Returns the verdict."""
        options = Options(state=self.folder / "state", pipeline=self.file)
        this = Run(
            source=source("dlt"),
            options=options,
            publisher=publisher or self.log,
            stop=Stop(),
            log=structlog.get_logger(),
            clock=self.clock,
        )
        pipelines.run(this)
        return this.verdict


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time, dlt waits a second for the last of a loading to be done."""
    made = Load.__init__

    def make(self: Load, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self._run_loop_sleep_duration = 0.01

    monkeypatch.setattr(Load, "__init__", make)


@pytest.fixture(autouse=True)
def _sends_no_statistics() -> Iterator[None]:
    """dlt sends none in any test."""
    yield
    assert anon_tracker._ANON_TRACKER_ENDPOINT is None


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[[str], Pipeline]:
    """``pipeline(text)``: that of a file with this text."""
    return lambda text: Pipeline(tmp_path, text)
