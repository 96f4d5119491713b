"""The command line that serves a dashboard, for its supervisor."""

from __future__ import annotations

import sys
from pathlib import Path

VIEWER = Path(__file__).parent / "viewer.py"
OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "logger.hideWelcomeMessage": "true",
}
"""Of Streamlit: it makes no requests to the internet, reports nothing, and shows no code."""


def command(
    *,
    port: int,
    dsn: str,
    currency: str = "EUR",
    dashboard: Path | None = None,
    listen: str = "127.0.0.1",
    python: str = sys.executable,
) -> list[str]:
    """Arguments of the page's process, which shows money in ``currency``. Run it in the project's folder; healthy when
    GET /_stcore/health returns ok.

    The page listens on loopback unless told otherwise, makes no requests to the internet and reports nothing.
    """
    flags = {"server.port": port, "server.address": listen, **OPTIONS}
    options = [f"--{name}={value}" for name, value in flags.items()]
    own = arguments(dsn=dsn, currency=currency, dashboard=dashboard)
    return [python, "-m", "streamlit", "run", str(VIEWER), *options, "--", *own]


def arguments(*, dsn: str, currency: str, dashboard: Path | None) -> list[str]:
    """Those of the viewer itself."""
    return ["--dsn", dsn, "--currency", currency, *(["--dashboard", str(dashboard)] if dashboard else [])]
