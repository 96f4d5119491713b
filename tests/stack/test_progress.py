from __future__ import annotations

from io import StringIO

from rich.console import Console

from insights.cli.progress import steps
from insights.stack import Step


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(told: list[tuple[float, Step]], *, terminal: bool) -> str:
    console, clock = Console(file=StringIO(), force_terminal=terminal, width=100), Clock()
    with steps(console, clock) as report:
        for at, step in told:
            clock.now = 100.0 + at
            report(step)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_beginning_and_end_is_a_line() -> None:
    told = [
        (0, Step(name="kafka", state="started")),
        (2.5, Step(name="kafka", state="done", detail="127.0.0.1:19092")),
    ]
    assert shown(told, terminal=False) == "kafka\nkafka: done in 2.5 s: 127.0.0.1:19092\n"


def test_without_a_terminal_a_download_is_reported_every_few_seconds_only() -> None:
    told = [(at / 10, Step(name="jars", state="progress", detail=f"{at} of 100 MB")) for at in range(101)]
    assert shown(told, terminal=False).splitlines() == [
        "jars: 0 of 100 MB",
        "jars: 50 of 100 MB",
        "jars: 100 of 100 MB",
    ]


def test_a_step_that_begins_again_is_timed_from_zero() -> None:
    told = [
        (0, Step(name="kafka", state="done")),
        (10, Step(name="kafka", state="started", detail="died; restarting")),
        (13, Step(name="kafka", state="done")),
    ]
    assert shown(told, terminal=False).splitlines()[-1] == "kafka: done in 3.0 s"


def test_a_terminal_ends_with_one_row_for_each_step() -> None:
    told = [
        (0, Step(name="jars", state="progress", detail="1 of 328 MB")),
        (4, Step(name="jars", state="done", detail="55 downloaded")),
        (5, Step(name="kafka", state="started")),
        (7, Step(name="kafka", state="done", detail="127.0.0.1:19092")),
    ]
    last = shown(told, terminal=True).split("jars")[-1]
    assert "4.0 s" in last
    assert "55 downloaded" in last
    assert "127.0.0.1:19092" in last


def test_brackets_in_a_detail_are_shown_as_they_are() -> None:
    assert "[red]" in shown([(0, Step(name="job", state="started", detail="field [red] is wrong"))], terminal=False)
