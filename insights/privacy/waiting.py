"""The requests about persons that nobody has answered, recorded in Postgres: an alert reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from producers.persons.requests import Request, Wish, requests
from schemas.binary import EPOCH, MILLISECOND
from warehouse.postgres import Connection

COMMANDS: Final[Mapping[Wish, str]] = {
    "erase": "insights privacy erase",
    "export": "insights privacy export",
    "remove": "insights connect remove",
}


def answer_of(request: Request) -> str:
    """The command that answers a request."""
    return f"{COMMANDS[request.wish]} {request.who}"


def note_waiting(postgres: Connection, folder: Path) -> None:
    """Record the open requests of a folder of producers in place of those before, in the caller's transaction."""
    waiting = [each for each in requests(folder) if each.answered_ms is None]
    postgres.execute("delete from ops.privacy_requests")
    for each in waiting:
        postgres.execute(
            "insert into ops.privacy_requests (number, asked_at, answer) values (%s, %s, %s)",
            (each.number, EPOCH + each.asked_ms * MILLISECOND, answer_of(each)),
        )
