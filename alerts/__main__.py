"""The alert daemon: ``python -m alerts --config FILE --port 19402``.

The config is a DaemonConfig, as JSON. It contains secrets, so it is a file that only its owner can read, not part of
the command line, which everyone can read.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

import structlog

from alerts.config import DaemonConfig
from alerts.health import serving
from alerts.watch import Watch
from processes.json_logs import write_json
from schemas.errors import InsightsError


def main(arguments: list[str] | None = None) -> None:
    """Checks rules until it is asked to end. Exits with a paragraph when the config is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m alerts", description="Checks the alert rules and sends notifications."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file with Postgres' address and the channels")
    parser.add_argument("--port", type=int, required=True, help="port of GET /health and GET /metrics")
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="json: as all other parts")
    options = parser.parse_args(arguments)
    _log(options.log_format)
    try:
        watch_until_told(DaemonConfig.read(options.config), options.port, options.listen)
    except InsightsError as error:
        sys.exit(f"insights alerts: {error}")


def _log(form: str) -> None:
    if form == "json":
        write_json("alerts")
        return
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def watch_until_told(config: DaemonConfig, port: int, listen: str) -> None:
    """Blocks until SIGTERM or SIGINT; a running step is finished first. Raises Misconfigured."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch = Watch(dsn=config.dsn, channels=config.open_channels(), rules=config.rules)
    with serving(watch, port, listen):
        while not stop.is_set():
            watch.step()
            stop.wait(config.step_seconds)
    watch.close()


if __name__ == "__main__":
    main()
