"""``insights lake``: the lake's tables, and what keeps them tidy. The embedded stack does that by itself every hour."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings

app = runtime.group("The lake: what is in it, and its upkeep.", example="insights lake list")
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Say what would be done, and do nothing.")]
KeepHours = Annotated[
    float, typer.Option(min=0, metavar="HOURS", help="How long a snapshot stays for whoever reads it. Default: 3.")
]
Only = Annotated[
    list[str] | None, typer.Option("--table", metavar="NAME", help="Only this one (live.sessions); may be repeated.")
]


@app.command()
def maintain(dry_run: DryRun = False, keep_hours: KeepHours = 3.0) -> None:
    """Make small files few, and remove old snapshots and files that nobody knows. The live job may run.

    Example: insights lake maintain --dry-run
    """
    from insights.cli.status_views import tidied_table
    from insights.wiring import deployment
    from warehouse.maintenance import maintain as tidied
    from warehouse.maintenance import rules

    # That another commit came first, or has removed the same old metadata file, is all in order.
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    target = deployment(load_settings())
    done = list(tidied(target, rules(target, datetime.now(UTC), keep_hours), dry=dry_run))
    runtime.show(tidied_table(done, is_plan=dry_run))


@app.command()
def publish(only: Only = None) -> None:
    """Copy facts, aggregates and books to the lake, as tables of the same names: what Athena reads.

    A day is copied again while it may change, and when a replay changed it. The stack may run. With
    INSIGHTS_GLUE_WAREHOUSE set, the tables are in AWS Glue; else in this stack's own lake.

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
    """List the lake's tables with their files, bytes and snapshots.

    Example: insights lake list
    """
    from insights.cli.status_views import lake_table
    from insights.wiring import deployment
    from warehouse.maintenance import sizes

    runtime.show(lake_table(sizes(deployment(load_settings()))))
