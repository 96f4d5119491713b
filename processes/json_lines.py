"""Turns what a program writes into one JSON object a line: ``json_lines.py PART COMMAND ARGUMENTS``.

The program's output and errors come out on standard output. A line that is a JSON object already stays as it is; the
lines of a Python traceback become one object. SIGTERM and SIGINT go on to the program, and its exit code is this one's.
It uses only the standard library.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

TRACEBACK = "Traceback (most recent call last):"


def entry(part: str, level: str, message: str, **more: str) -> str:
    """One object: time, level, part, message."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "level": level, "part": part, "message": message, **more}, ensure_ascii=False)


def as_json(part: str, lines: Iterable[str]) -> Iterator[str]:
    """The objects of these lines, without empty ones; each as soon as its last line is there."""
    traceback: list[str] = []
    for line in (each.rstrip("\r\n") for each in lines):
        if traceback and (not line or line[0].isspace()):
            traceback.append(line)
        elif traceback:
            yield entry(part, "error", line, exception="\n".join([*traceback, line]))
            traceback = []
        elif line == TRACEBACK:
            traceback = [line]
        elif _object(line) is not None:
            yield line
        elif line.strip():
            yield entry(part, "info", line)
    if traceback:
        yield entry(part, "error", traceback[0], exception="\n".join(traceback))


def _object(line: str) -> dict[str, Any] | None:
    """None for what is no object, for what Python reads and JSON does not know (NaN), and for what is nested too deeply
    to be read.
    """
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refused(constant: str) -> None:
    raise ValueError(constant)


def readable(line: str) -> str:
    """An object as ``entry`` makes it, as a line for people; anything else as it is."""
    said = _object(line)
    if said is None or not {"time", "level", "message"} <= said.keys():
        return line
    first = f"{said.pop('time')} {str(said.pop('level')).upper():<7} {said.pop('message')}"
    said.pop("part", None)
    trace = str(said.pop("exception", "")).rstrip()
    more = "".join(f" {name}={value}" for name, value in said.items())
    return f"{first}{more}" + (f"\n{trace}" if trace else "")


def message_of(line: str) -> str:
    """What an object as ``entry`` makes it says; of anything else the line, without spaces around it."""
    said = _object(line) or {}
    return str(said["message"]).strip() if {"time", "message"} <= said.keys() else line.strip()


def _ends_with_parent() -> None:
    """In the program, before it begins: a part that is killed must not leave its program behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(part: str, command: list[str]) -> int:
    """Runs the command until it ends. Returns its exit code."""
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=_ends_with_parent,  # noqa: PLW1509 there is one thread
    ) as process:

        def pass_on(number: int, _frame: Any) -> None:
            process.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        assert process.stdout is not None
        for line in as_json(part, process.stdout):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
