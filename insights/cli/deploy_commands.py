"""``insights deploy``: what runs on AWS, brought up to date and taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings

app = runtime.group(
    "Bring what runs on AWS up to date: the live job on Managed Flink, the hub on ECS, files of replays.",
    example="insights deploy plan",
)
Release = Annotated[
    str | None,
    typer.Option("--release", metavar="TAG", help="Roll out the hub's images with this tag; else the hub stays."),
]


@app.command()
def plan(release: Release = None) -> None:
    """Show what `apply` would change. Changes nothing.

    Example: insights deploy plan --release 1.4.0
    """
    from insights.deploy.deployed import pieces

    with runtime.progressing("comparing") as say:
        found = [(piece.name, piece.changes()) for piece in pieces(load_settings(), say, release=release)]
    for name, changes in found:
        runtime.say(f"{name}: {'nothing to change' if not changes else ''}".rstrip())
        for line in changes:
            runtime.say(f"  {line}")


@app.command()
def apply(release: Release = None) -> None:
    """Deploy, wait until it runs, and go back by itself if it does not.

    Example: insights deploy apply --release 1.4.0
    """
    from insights.deploy.deployed import pieces

    with runtime.progressing("deploying") as say:
        for piece in pieces(load_settings(), say, release=release):
            runtime.say(f"{piece.name}: {piece.apply()}")


@app.command()
def status() -> None:
    """Show what is deployed.

    Example: insights deploy status
    """
    from insights.deploy.deployed import pieces

    for piece in pieces(load_settings(), lambda text: None):
        runtime.say(f"{piece.name}:")
        for line in piece.status():
            runtime.say(f"  {line}")


@app.command()
def rollback(
    of: Annotated[str, typer.Argument(metavar="PIECE", help="What goes back: live-job, hub, or all of them.")] = "all",
) -> None:
    """Go back to the version before the last `apply`. The live job keeps its state.

    Example: insights deploy rollback hub
    """
    from insights.deploy.deployed import pieces
    from schemas.errors import Misconfigured

    found = pieces(load_settings(), lambda text: None)
    chosen = [piece for piece in found if of in (piece.name, "all")]
    if not chosen:
        raise Misconfigured(f"nothing called {of!r} is deployed: there is {', '.join(piece.name for piece in found)}")
    for piece in chosen:
        runtime.say(f"{piece.name}: {piece.roll_back()}")
