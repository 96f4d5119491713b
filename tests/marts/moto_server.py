"""moto's server, whose Glue refuses a change of a table that somebody else has changed meanwhile, as AWS' does.

moto takes every change. Trino's commits to one Iceberg table are then no longer one after the other: of two at once,
the second undoes the first. ``moto_server.py HOST PORT``.
"""

from __future__ import annotations

import sys
import threading

from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.glue.responses import GlueResponse
from moto.server import main

take_table, turn = GlueResponse.update_table, threading.Lock()


def update_table(self: GlueResponse) -> ActionResult:
    expected = self.parameters.get("VersionId")
    with turn:
        if expected is not None:
            table = self.glue_backend.get_table(self.parameters["DatabaseName"], self.parameters["TableInput"]["Name"])
            there = table.as_dict()["VersionId"]
            if there != expected:
                raise JsonRESTError(
                    "ConcurrentModificationException", f"the table's version is {there}, and not {expected}"
                )
        return take_table(self)


if __name__ == "__main__":
    GlueResponse.update_table = update_table  # type: ignore[method-assign]
    host, port = sys.argv[1:]
    main(["-H", host, "-p", port])
