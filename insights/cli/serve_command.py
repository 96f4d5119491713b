"""`insights serve`: one server in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from insights.settings import load_settings

ServerName = Annotated[
    str, typer.Argument(metavar="SERVER", help="One of kafka, registry, postgres, jobmanager, taskmanager.")
]


def serve(server: ServerName) -> None:
    """Run one server of the stack in the foreground, for example as a container.

    Example: insights serve kafka
    """
    from insights.stack.serve import serve as become

    become(load_settings(), server)
