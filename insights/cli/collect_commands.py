"""``insights collect``: what visitors do on a real shop's pages."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings

DAYS = 7
app = runtime.group("Collect web events of your own shop's pages.", example="insights collect add bikes")
NewName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="What the source is called; for a connected shop its name in `connect list`."),
]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key's name in `insights collect list`.")]
Origins = Annotated[
    list[str],
    typer.Option("--origin", metavar="URL", help="Pages that may send, as https://bikes.example. Can be repeated."),
]


@app.command()
def add(name: NewName, origin: Origins) -> None:
    """Create the public key that a shop's pages send their events with.

    Example: insights collect add bikes --origin https://bikes.example
    """
    from producers.collect import keys

    settings = load_settings()
    settings.run_dir.mkdir(parents=True, exist_ok=True)  # by it `insights clean` knows the folder
    key = keys.add(settings.producers_dir, name, origin)
    runtime.say(f"{name} may send web events from {', '.join(sorted(key.origins))}.", style="bold green")
    runtime.say("Put this into the head of its pages; docs/web-events.md has the rest:")
    runtime.say("")
    runtime.say(f'  <script async src="{settings.collect_url}/v1/tracker.js" data-key="{key.key}"></script>')
    runtime.say("")
    runtime.say(
        "Visitors on other machines need an https address of yours that leads to that port in place of"
        f" {settings.collect_url}."
    )


@app.command("list")
def list_() -> None:
    """List the keys, and the events received with each in the last seven days.

    Example: insights collect list
    """
    from insights.cli.terminal_table import Column, TerminalTable
    from producers.collect import keys

    folder = load_settings().producers_dir
    found = keys.listed(folder)
    if not found:
        runtime.say("No shop sends web events; `insights collect add` makes a key for one.")
        return
    came = keys.tallies(folder, int(time.time()) // 86_400 - DAYS + 1)
    sheet = TerminalTable(
        f"web events of the last {DAYS} days",
        *(Column(), Column(name="published", right=True), Column(name="bots", right=True)),
        *(Column(name="refused", right=True), Column(name="key"), Column(name="origins", flows=True)),
    )
    for key in found:
        numbers = (f"{came.get((key.name, outcome), 0):,}" for outcome in ("published", "bot", "refused"))
        sheet.add(key.name, *numbers, key.key, ", ".join(sorted(key.origins)))
    runtime.show(sheet)


@app.command()
def remove(name: KeyName) -> None:
    """Remove a key: events sent with it are refused from then on. What was counted stays.

    Example: insights collect remove bikes
    """
    from producers.collect import keys

    keys.remove(load_settings().producers_dir, name)
    runtime.say(f"The key of {name} is removed. Take the tracker out of its pages.")
