"""The log of a Python process as one JSON object a line: time, level, part, message, and what else an entry says."""

from __future__ import annotations

import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from processes.json_lines import as_json

MOST_CHARACTERS = 64 * 1024  # of a line that is printed in pieces


def write_json(part: str, stream: TextIO | None = None) -> None:
    """From now on all entries go to ``stream`` (standard error) as JSON: structlog's and logging's, uncaught
    exceptions, and every line that is printed there.
    """
    out = stream or sys.stderr
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _of(part),
    ]
    render: Processor = structlog.processors.JSONRenderer(serializer=_dumped)
    structlog.configure(
        processors=[*common, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=[without_meta, render])
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    _catch_the_rest()
    sys.stderr = _Printed(part, out)


def _dumped(entry: dict[str, Any], **_options: Any) -> str:
    """What JSON has no form for is said as text."""
    try:
        return json.dumps(entry, ensure_ascii=False, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({str(name): str(value) for name, value in entry.items()}, ensure_ascii=False)


def _of(part: str) -> Processor:
    def add(_logger: Any, _method: str, entry: EventDict) -> EventDict:
        first = {name: entry.pop(name) for name in ("time", "level")}
        return {**first, "part": part, "message": entry.pop("message"), **entry}

    return add


def _catch_the_rest() -> None:
    log = structlog.get_logger()

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical(str(error) or kind.__name__, exc_info=(kind, error, trace))

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "?"
        assert args.exc_value is not None
        log.error(f"thread {name} ended", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread


class _Printed:
    """Stands for standard error: what is printed there becomes an entry a line."""

    encoding = "utf-8"

    def __init__(self, part: str, out: TextIO) -> None:
        self._part = part
        self._out = out
        self._begun: list[str] = []
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """A line is written once it is complete, or too long to be kept."""
        with self._lock:
            self._begun.append(text)
            if "\n" in text or sum(map(len, self._begun)) > MOST_CHARACTERS:
                *lines, rest = "".join(self._begun).split("\n")
                if len(rest) > MOST_CHARACTERS:
                    lines, rest = [*lines, rest], ""
                self._begun = [rest] if rest else []
                for entry in as_json(self._part, lines):
                    self._out.write(entry + "\n")
        return len(text)

    def flush(self) -> None:
        """What is complete."""
        self._out.flush()

    def isatty(self) -> bool:
        """Never."""
        return False

    def fileno(self) -> int:
        """Of what is written to."""
        return self._out.fileno()
