"""``insights export``: the marts in files, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.plural import counted

app = runtime.group("Export the marts as files for other programs.", example="insights export tableau")
OutFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to. Default: tableau in INSIGHTS_HOME.")
]
MartNames = Annotated[
    list[str] | None, typer.Option("--mart", metavar="NAME", help="Only this mart, for example rfm; repeatable.")
]


@app.command()
def tableau(out: OutFolder = None, mart: MartNames = None) -> None:
    """Write each mart as a .hyper extract for Tableau. Existing extracts are replaced atomically.

    Example: insights export tableau --mart daily_sales --mart rfm
    """
    from insights.cli.status_views import megabytes
    from insights.tableau import chosen, ensure_hyper, export, marts
    from insights.wiring import dsn_as
    from warehouse.logins import Role
    from warehouse.postgres import opened

    settings = load_settings()
    folder = (out or settings.home / "tableau").expanduser().absolute()
    # A page waits a minute at most for an answer; a mart may be large.
    options = "-c default_transaction_read_only=on -c timezone=UTC -c statement_timeout=0"
    with opened(dsn_as(settings, Role.READER), options=options) as connection:
        wanted = chosen(marts(connection), mart or [])
        ensure_hyper()
        for each in wanted:
            done = export(connection, each, folder)
            runtime.say(f"{done.file}: {counted(done.rows, 'row')}, {megabytes(done.size_bytes)}")
