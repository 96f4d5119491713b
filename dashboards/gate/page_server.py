"""Serves the page on a socket in the file system: ``page_server.py SOCKET`` and the viewer's arguments.

`streamlit run` takes nothing but a port, which every user of the machine could reach.
"""

from __future__ import annotations

import sys

import streamlit
import uvicorn
from streamlit import config

from dashboards.launch import OPTIONS, VIEWER

LARGEST_MESSAGE = 1024 * 1024


def main() -> None:
    """Serve until SIGTERM."""
    socket = sys.argv.pop(1)
    # As a library, Streamlit has no command line, and reads no variables.
    for name, value in {**OPTIONS, "logger.level": "warning"}.items():
        config.set_option(name, {"true": True, "false": False}.get(value, value))
    uvicorn.run(
        streamlit.App(VIEWER),
        uds=socket,
        log_level="warning",
        access_log=False,
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
