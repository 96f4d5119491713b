"""``insights dead-letters``: what was rejected, why, and publishing it again once it is fixed."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings
from schemas.errors import InsightsError, Misconfigured, RowsRefused
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.letters.redrive import Report, Servers
    from producers.redrive.recipe import Recipe
    from reconciliation.dead_letters import DeadLetter
    from reconciliation.redrives import Done

app = runtime.group("Rejected events and records, why, and redriving them.", example="insights dead-letters stats")
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, in a stable format.")]
ForTopic = Annotated[
    str | None, typer.Option("--topic", metavar="TOPIC", help="This topic only, for example sales.order_placed.")
]
Offset = Annotated[int, typer.Argument(metavar="OFFSET", help="The letter's number in the list.", min=0)]
RecipeFile = Annotated[Path, typer.Argument(metavar="FILE", help="A recipe, as docs/dead-letters.md describes.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="JMESPATH", help="Only letters of which this is true: error == 'BadEvent'."),
]
Fix = Annotated[Path | None, typer.Option("--fix", metavar="FILE", help="The recipe that fixes them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would be published.")]


@app.callback(invoke_without_command=True, no_args_is_help=False)
def dead_letters(ctx: typer.Context, topic: ForTopic = None, as_json: AsJson = False) -> None:
    """Rejected events and records: list them, see why, and publish them again once they are fixed.

    Without a command, it lists them.

    Example: insights dead-letters --topic sales.order_placed
    """
    if ctx.invoked_subcommand is None:
        list_(topic, as_json)
    elif topic is not None or as_json:
        raise Misconfigured(f"give --topic and --json after {ctx.invoked_subcommand}, not before it")


@app.command("list")
def list_(topic: ForTopic = None, as_json: AsJson = False) -> None:
    """List dead letters and dead records: where each came from, and why it was rejected.

    A dead letter never reached its topic. A dead record is on its topic, but
    the live job can't read it or must not count it. Values may contain
    personal data. Values of people who were erased, and values in dead letters
    older than 90 days, can't be read any more.

    Example: insights dead-letters list --topic sales.order_placed
    """
    from insights.cli import dead_event_views
    from insights.privacy.letters import readable
    from reconciliation import dead_letters, dead_records

    settings = load_settings()
    letters = list(readable(settings, dead_letters.every(settings.kafka, topic), with_bytes=as_json))
    done = _done(settings)
    if as_json:
        records = dead_records.listed(settings.postgres_dsn, topic, most=None)
        sys.stdout.write(json.dumps(dead_event_views.as_json(letters, records.newest, done), indent=2) + "\n")
        return
    if letters:
        runtime.show(dead_event_views.letters_table(letters, done))
    else:
        runtime.say("There are no dead letters.")
    records = dead_records.listed(settings.postgres_dsn, topic)
    runtime.say("")
    if records.reasons:
        runtime.show(dead_event_views.records_tables(records))
    else:
        runtime.say("There are no dead records.")


@app.command()
def show(offset: Offset, as_json: AsJson = False) -> None:
    """Show one dead letter whole: its headers, its bytes, and what to do about it. May contain personal data.

    Example: insights dead-letters show 12
    """
    from insights.cli import dead_event_views
    from reconciliation import redrives

    settings = load_settings()
    letter = next((each for each in _letters(settings, None) if each.offset == offset), None)
    if letter is None:
        raise Misconfigured(f"there is no dead letter {offset}; `insights dead-letters` lists those that there are")
    done = _done(settings)
    if as_json:
        sys.stdout.write(json.dumps(dead_event_views.as_json([letter], [], done)[0], indent=2) + "\n")
        return
    runtime.show(dead_event_views.letter_whole(letter, redrives.state_of(letter, done)))


@app.command()
def stats(topic: ForTopic = None, as_json: AsJson = False) -> None:
    """Count dead letters by cause: how many are open, since when, and what to do.

    Example: insights dead-letters stats
    """
    from insights.cli import dead_event_views
    from insights.letters.causes import by_cause, published
    from reconciliation import redrives

    settings = load_settings()
    done = redrives.listed(settings.postgres_dsn)
    causes = by_cause(_letters(settings, topic), done, published(settings.postgres_dsn))
    if as_json:
        sys.stdout.write(json.dumps([each.as_json() for each in causes], indent=2) + "\n")
    elif causes:
        runtime.show(dead_event_views.causes_table(causes))
    else:
        runtime.say("There are no dead letters.")


@app.command("check-recipe")
def check_recipe(file: RecipeFile) -> None:
    """Check that a recipe is valid and does what its examples say. Needs no stack.

    Example: insights dead-letters check-recipe recipe.yaml
    """
    from producers.redrive.recipe import load

    recipe = load(file)
    runtime.say(
        f"{file} is valid, and does what it says in {counted(len(recipe.examples), 'example')}.", style="bold green"
    )


@app.command()
def redrive(where: Where = None, topic: ForTopic = None, fix: Fix = None, dry_run: DryRun = False) -> None:
    """Publish the events that dead letters should have been, fixed by a recipe.

    Redriving a letter twice changes nothing. It stops when fixed letters are
    rejected again: more than 10 of the first 100, or 20 in a row. The orders of
    a connected shop are read again from the shop instead.

    Example: insights dead-letters redrive --fix recipe.yaml --dry-run
    """
    from insights.letters.redrive import Report, Wish
    from insights.letters.redrive import redrive as run
    from producers.redrive.recipe import compiled, load

    if where is None and topic is None and fix is None:
        raise Misconfigured("name the letters: with --fix a recipe, with --topic a topic, or with --where a condition")
    try:
        recipe: Recipe | None = load(fix) if fix else None
        where = compiled(where) if where else None
    except ValueError as error:
        raise Misconfigured(f"--where: {error}") from error
    settings, report = load_settings(), Report()
    wish = Wish(topic=topic, where=where, recipe=recipe, is_dry=dry_run, by=getpass.getuser())
    with _servers(settings) as servers:
        try:
            for outcome in run(_letters(settings, None), wish, servers):
                report.take(outcome)
        except InsightsError:
            _say(report, dry_run)
            raise
    _say(report, dry_run)
    if report.counts["failed"] or report.counts["unfinished"]:
        raise RowsRefused("letters that were rejected again stay open; `insights dead-letters show` prints one")


def _done(settings: Settings) -> Done:
    """What was done about letters, as far as Postgres answers: the letters themselves are on the log."""
    from reconciliation import redrives
    from warehouse.postgres import PostgresAway

    try:
        return redrives.listed(settings.postgres_dsn)
    except PostgresAway as error:
        runtime.complain(f"{error}. What was redriven is not known")
        return {}


def _say(report: Report, is_dry: bool) -> None:
    from insights.cli import dead_event_views

    if report.counts:
        runtime.show(dead_event_views.report_table(report, is_dry=is_dry))
    else:
        runtime.say("No dead letter is meant: nothing was redriven.")


def _letters(settings: Settings, topic: str | None) -> Iterator[DeadLetter]:
    """Those of a topic, or all, with their bytes, as far as they can be read."""
    from insights.privacy.letters import readable
    from reconciliation import dead_letters

    return readable(settings, dead_letters.every(settings.kafka, topic), with_bytes=True)


@contextmanager
def _servers(settings: Settings) -> Iterator[Servers]:
    """What a run works with. Raises AlreadyRunning while another one has it."""
    from insights.letters.redrive import Servers
    from producers.connect import rereads
    from producers.connect.connections import names
    from producers.persons.keys import PersonKeys
    from producers.publisher import Publisher
    from producers.redrive.avro import FramedAvro
    from reconciliation import redrives
    from schemas.registry import Registry

    registry = Registry(settings.registry_url)
    with (
        closing(PersonKeys(settings.producers_dir)) as persons,
        redrives.alone(settings.postgres_dsn) as connection,
    ):
        yield Servers(
            publisher=Publisher(
                settings.kafka,
                registry,
                client_id="insights-redrive",
                currency=settings.currency,
            ),
            persons=persons,
            done=redrives.read(connection),
            note=lambda rows: redrives.write(connection, rows),
            ask=lambda shop, doubts: rereads.ask(settings.producers_dir, shop, doubts),
            waiting=lambda shop: rereads.waiting(settings.producers_dir, shop),
            shops=frozenset(names(settings.producers_dir)),
            avro=FramedAvro(registry).read,
        )
