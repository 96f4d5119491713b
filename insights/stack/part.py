"""What a part of the stack is: a command, how to see that it is well, and what it needs."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECK_SECONDS = 2.0


def nothing() -> None:
    """Prepares nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One supervised process.

    Attributes:
        name: what people call it, and the name of its log.
        command: what to run.
        environment: all that it finds in its environment.
        folder: where it runs.
        healthy: whether it answers; takes a few seconds at most and never raises. Called from any thread.
        endpoint: its address, for people; empty when it has none.
        ports: the settings that hold the ports it listens on.
        depends_on: parts that must be healthy before it starts, and that stop after it.
        prepare: called before every start; quick, and safe to repeat.
        user: (user id, group id) to run as; None is whoever runs the supervisor.
        stop_signal: what asks it to stop.
        stop_seconds: how long it may take to; then it is killed.
        producer: publishes events, and so is stopped before the job is.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    healthy: Callable[[], bool]
    endpoint: str = ""
    ports: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    prepare: Callable[[], None] = field(default=nothing)
    user: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0
    producer: bool = False


def answers_http(url: str) -> bool:
    """Whether a GET of the address succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=CHECK_SECONDS) as response:  # noqa: S310
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def in_order(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts, each after those it depends on."""
    done: dict[str, Part] = {}
    by_name = {part.name: part for part in parts}

    def visit(part: Part) -> None:
        for name in part.depends_on:
            if name in by_name and name not in done:
                visit(by_name[name])
        done[part.name] = part

    for part in parts:
        if part.name not in done:
            visit(part)
    return tuple(done.values())


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
