"""``insights lake``: the lake's tables and their maintenance. The embedded stack runs it every hour."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings
from schemas.plural import counted

app = runtime.group("The lake: its tables and their maintenance.", example="insights lake list")
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Show what would be done, without doing it.")]
KeepHours = Annotated[
    float | None, typer.Option(min=0, metavar="HOURS", help="How long to keep old snapshots for readers. Default: 3.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME", help="Only this table, for example live.sessions; repeatable."),
]


@app.command()
def maintain(dry_run: DryRun = False, keep_hours: KeepHours = None) -> None:
    """Compact small files and remove old snapshots and orphan files. Safe while the live job runs.

    Destroys the keys of dead letters that are older than their topic keeps them, so that no copy
    can be read any more.

    Example: insights lake maintain --dry-run
    """
    from insights.cli.status_views import tidied_table
    from insights.wiring import deployment
    from warehouse.maintenance import maintain as tidied
    from warehouse.maintenance import rules

    settings = load_settings()
    # That another commit came first, or has removed the same old metadata file, is all in order.
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    target = deployment(settings)
    done = list(tidied(target, rules(target, datetime.now(UTC), keep_hours), dry=dry_run))
    runtime.show(tidied_table(done, is_plan=dry_run))
    if not dry_run:
        expire_letters(settings)


def expire_letters(settings: Settings) -> None:
    """Dead letters can be read as long as their contract says, wherever they were copied. Raises StillRead."""
    from producers.persons.keys import expire
    from schemas.catalogue import event

    days = event("ops.dead_letter").retention_days
    if days is not None:
        before = datetime.now(UTC) - timedelta(days=days)
        if gone := expire(settings.producers_dir, int(before.timestamp() * 1000)):
            runtime.say(f"{counted(gone, 'dead letter')} older than {days} days can't be read any more.")


@app.command()
def publish(only: Only = None) -> None:
    """Copy facts, aggregates and operations tables (ops) to the lake, for Athena.

    A day is copied again while it can still change, and after a replay changed it. Safe while the stack runs. With
    INSIGHTS_GLUE_WAREHOUSE set, the tables go to AWS Glue, otherwise to this stack's lake.

    Example: insights lake publish
    """
    from insights.cli.status_views import published_table
    from insights.wiring import deployment, published_catalog
    from replay.publish import publish as published
    from warehouse.postgres import connected

    settings = load_settings()
    with connected(deployment(settings)) as connection, published_catalog(settings) as catalog:
        runtime.show(published_table(list(published(connection, catalog, only=only or ()))))


@app.command("list")
def list_() -> None:
    """List the lake's tables with files, size and snapshots.

    Example: insights lake list
    """
    from insights.cli.status_views import lake_table
    from insights.wiring import deployment
    from warehouse.maintenance import sizes

    runtime.show(lake_table(sizes(deployment(load_settings()))))
