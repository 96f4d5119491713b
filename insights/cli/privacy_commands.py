"""``insights privacy``: what is held of a person, handed over or erased."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import Misconfigured
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.cli.terminal_table import TerminalTable
    from insights.privacy.person import Held
    from insights.settings import Settings
    from producers.persons.requests import Request, Wish

app = runtime.group("Export or erase what is stored about a person.", example="insights privacy export bikes-17")
Customer = Annotated[
    str, typer.Argument(metavar="CUSTOMER", help="Their id in the tables, such as bikes-17; or their e-mail address.")
]
Mentioning = Annotated[
    list[str] | None,
    typer.Option(
        "--mentioning",
        metavar="TEXT",
        help="Also dead letters that contain this text, such as a name. Can be repeated.",
    ),
]
Close = Annotated[
    int | None,
    typer.Option("--close", metavar="NUMBER", help="Note that this request is answered, and list nothing."),
]
Yes = Annotated[bool, typer.Option("--yes", metavar="", help="Erase without asking.")]
To = Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write to this file instead of the terminal.")]


@app.command()
def erase(customer: Customer, mentioning: Mentioning = None, yes: Yes = False) -> None:
    """Erase a person: destroy the keys that their data is encrypted with, and publish the erasure.

    Shows first what is held. No number changes: their orders stay, as those of a pseudonym.
    It can't be undone.

    Example: insights privacy erase anna@example.com --mentioning "Anna Example"
    """
    from insights.privacy import erase as erasing
    from insights.privacy.person import held
    from producers.persons.keys import PersonKeys

    settings = load_settings()
    with closing(PersonKeys(settings.producers_dir)) as keys:
        found = held(settings, keys, customer, mentioning or ())
        if found.erased_at and not found.customers and not found.letters:
            runtime.say(
                f"{found.names[0]} was erased at {found.erased_at:%Y-%m-%d %H:%M} UTC; there is no data since then."
            )
        else:
            runtime.show(what_is_held(found))
            runtime.say("")
            if not yes:
                typer.confirm("Destroy the keys for good?", abort=True)
        erasing.erase(settings, keys, found, time.time)
    answered(settings, "erase", {customer, *found.names})
    runtime.say(
        f"Erased: {', '.join(found.names) or customer}. {counted(len(found.letters), 'dead letter')} and all"
        " encrypted fields can't be read any more, in any copy of the log, the lake, the tables and the checkpoints.",
        style="bold green",
    )
    runtime.say(
        "The pseudonym stays with its orders and visits, because every total needs them. The shop itself still has the"
        " person's data, and so do backups of the data folder: erase it there, too. If the person orders again, they"
        " count as a new customer."
    )


@app.command()
def export(customer: Customer, mentioning: Mentioning = None, to: To = None) -> None:
    """Write everything that is stored about a person as JSON, and explain each field.

    Events are as old as the lake's newest commit. Encrypted fields and dead letters are in plain.

    Example: insights privacy export bikes-17 --to anna.json
    """
    from insights.privacy import export as exporting
    from insights.privacy.person import held
    from producers.persons.keys import PersonKeys

    settings = load_settings()
    with closing(PersonKeys(settings.producers_dir)) as keys:
        found = held(settings, keys, customer, mentioning or ())
    if to is None:
        exporting.export(settings, found, datetime.now(UTC), sys.stdout)
        sys.stdout.flush()
        answered(settings, "export", {customer, *found.names}, is_said=False)
        return
    part = to.with_name(f".{to.name}.part")
    try:
        with open(part, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            written = exporting.export(settings, found, datetime.now(UTC), file)
        part.replace(to)
    except OSError as error:
        raise Misconfigured(f"{to} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    runtime.say(f"{counted(written, 'event')} and {counted(len(found.letters), 'dead letter')} are in {to}.")
    answered(settings, "export", {customer, *found.names})


@app.command()
def requests(close: Close = None) -> None:
    """List what the connected shops were asked about persons, and what answers it.

    Shopify's privacy webhooks and deleted customers' accounts are listed. None is done by itself.

    Example: insights privacy requests
    """
    from producers.persons import requests as asking

    settings = load_settings()
    folder = settings.producers_dir
    if close is not None:
        if not asking.close(folder, close, int(time.time() * 1000)):
            raise Misconfigured(f"there is no open request {close}; `insights privacy requests` lists them")
        note_waiting(settings)
        runtime.say(f"Request {close} is answered.")
        return
    found = asking.requests(folder)
    if not found:
        runtime.say("No connected shop was asked anything about a person.")
        return
    runtime.show(what_is_asked(found))


def answered(settings: Settings, wish: Wish, whose: Collection[str], *, is_said: bool = True) -> None:
    """Close the requests that this answers."""
    from producers.persons import requests as asking

    number = asking.answer(settings.producers_dir, wish, whose, int(time.time() * 1000))
    if number:
        note_waiting(settings)
    if number and is_said:
        runtime.say(f"{counted(number, 'request')} of `insights privacy requests` answered.")


def note_waiting(settings: Settings) -> None:
    """Tell the alerts of a running stack which requests are still open; if Postgres is away, a later run tells them."""
    from insights.privacy import waiting
    from insights.stack.states import supervisor_process
    from warehouse.postgres import PostgresAway, opened

    if supervisor_process(settings) is None:
        return
    try:
        with opened(settings.postgres_dsn, autocommit=False) as postgres:
            waiting.note_waiting(postgres, settings.producers_dir)
    except PostgresAway as away:
        runtime.say(f"It is kept. The alerts follow at the next hourly run, because {away}.", style="yellow")


def what_is_asked(found: Sequence[Request]) -> TerminalTable:
    """Each request, the open ones with the command that answers them."""
    from insights.cli.terminal_table import Column, TerminalTable
    from insights.privacy.waiting import answer_of

    sheet = TerminalTable(
        "requests about persons",
        *(Column(right=True), Column(name="asked, UTC"), Column(name="said by"), Column(name="answer", flows=True)),
    )
    for each in found:
        if each.answered_ms is None:
            does = answer_of(each)
        else:
            does = f"{each.wish} {each.who}: answered {shown_at(each.answered_ms)}"
        sheet.add(str(each.number), shown_at(each.asked_ms), each.said_by, does)
    return sheet


def shown_at(at_ms: int) -> str:
    """A time to the minute."""
    return f"{EPOCH + at_ms * MILLISECOND:%Y-%m-%d %H:%M}"


def what_is_held(found: Held) -> TerminalTable:
    """By place, and what an erasure does there."""
    from insights.cli.terminal_table import Column, TerminalTable

    sheet = TerminalTable(
        f"stored about {', '.join(found.names) or 'this person'}",
        *(Column(), Column(name="number", right=True), Column(name="when erased", flows=True)),
    )
    for table, rows in found.rows.items():
        sheet.add(table, f"{rows:,}", "stays, under the pseudonym; encrypted fields can't be read any more")
    for dead, _ in found.letters.values():
        sheet.add(f"dead letter {dead.offset}", "1", f"can't be read any more: {dead.reason}")
    return sheet
