"""``insights dashboards``: the dashboards' files, in a Metabase."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insights.cli import runtime
from insights.settings import PROJECT, Settings, load_settings
from schemas.errors import Misconfigured

if TYPE_CHECKING:
    from dashboards.metabase.client import Account
    from dashboards.metabase.provision import Database, Outcome
    from dashboards.metabase.render import MetabaseDashboard
    from dashboards.model import Dashboard

HERE = PROJECT / "dashboards"
VALIDATOR = PROJECT / ".metabase-cli"

app = runtime.group("Dashboards in Metabase: validate, compare and apply them.", example="insights dashboards diff")
Url = Annotated[str | None, typer.Option(metavar="URL", help="Metabase's address. Default: INSIGHTS_METABASE_URL.")]
User = Annotated[
    str | None,
    typer.Option(
        metavar="EMAIL",
        help="A Metabase administrator; the password is INSIGHTS_METABASE_PASSWORD. Default: INSIGHTS_METABASE_USER.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="An administrator's API key, instead of a user. Default: INSIGHTS_METABASE_API_KEY."
    ),
]
Folder = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder with the dashboard files.", show_default="the project's own")
]
EXIT_DIFFERS = 1


@app.command()
def validate(folder: Folder = HERE) -> None:
    """Validate what would be sent, with Metabase's own command line. Needs neither Metabase nor Postgres.

    Example: insights dashboards validate
    """
    from dashboards.metabase.render import render
    from dashboards.metabase.validate import own_problems, refusals, requests

    rendered = [render(name, dashboard, load_settings().currency) for name, dashboard in _read(folder).items()]
    problems = own_problems(rendered) or refusals(VALIDATOR, list(requests(rendered)))
    for problem in problems:
        runtime.complain(problem)
    if problems:
        raise typer.Exit(1)
    cards = sum(len(dashboard.all_cards) for dashboard in rendered)
    runtime.say(f"Dashboards: {len(rendered)}, cards: {cards}. All valid by Metabase's schemas.")


@app.command()
def diff(url: Url = None, user: User = None, api_key: ApiKey = None, folder: Folder = HERE) -> None:
    """Show what `apply` would change. Exits with 0 when nothing would, and with 1 otherwise.

    Example: insights dashboards diff --url http://127.0.0.1:3000
    """
    outcome = _provision(_settings(url, user, api_key), folder, write=False)
    _tell(outcome)
    if outcome.changes:
        runtime.say("Run `insights dashboards apply` to make these changes.")
        raise typer.Exit(EXIT_DIFFERS)
    runtime.say("Metabase matches the files.")


@app.command()
def apply(url: Url = None, user: User = None, api_key: ApiKey = None, folder: Folder = HERE) -> None:
    """Create or update the dashboards in Metabase: database, cards, filters and layouts.

    Running it again changes nothing. A new Metabase gets its first administrator. Cards that are no longer in the
    files go to Metabase's trash.

    Example: insights dashboards apply --url http://127.0.0.1:3000 --user me@shop.example
    """
    settings = _settings(url, user, api_key)
    outcome = _provision(settings, folder, write=True)
    _tell(outcome)
    if not outcome.changes:
        runtime.say("Metabase is up to date; nothing was changed.")
    for name, number in outcome.dashboards.items():
        runtime.say(f"{name}: {str(settings.metabase_url).rstrip('/')}/dashboard/{number}#refresh=60")


def _settings(url: str | None, user: str | None, api_key: str | None) -> Settings:
    given: dict[str, Any] = {"metabase_url": url, "metabase_user": user, "metabase_api_key": api_key}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    if not settings.metabase_url:
        raise Misconfigured(
            "Metabase's address is not set; give --url or INSIGHTS_METABASE_URL, such as http://127.0.0.1:3000"
        )
    if not settings.metabase_reader_password:
        raise Misconfigured(
            "INSIGHTS_METABASE_READER_PASSWORD is not set: the password of metabase_reader, the user as which Metabase"
            " reads Postgres. Choose any password; `apply` creates the user with it"
        )
    return settings


def _provision(settings: Settings, folder: Path, *, write: bool) -> Outcome:
    from dashboards.metabase.client import metabase_at
    from dashboards.metabase.provision import provision
    from dashboards.metabase.render import render

    files = _read(folder)
    with metabase_at(str(settings.metabase_url), _account(settings), set_up=write) as metabase:
        if write:
            _provide_reader(settings)
        rendered = [render(name, dashboard, settings.currency) for name, dashboard in files.items()]
        return provision(metabase, _well(rendered), _database(settings), write=write)


def _read(folder: Path) -> dict[str, Dashboard]:
    """Dashboards by their file's name, in the order in which they are listed."""
    from dashboards.model import load

    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise Misconfigured(f"there are no dashboards in {folder}; name a folder of YAML files with --folder")
    found = {path.stem: load(path) for path in paths}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def _well(rendered: list[MetabaseDashboard]) -> list[MetabaseDashboard]:
    from dashboards.metabase.validate import own_problems

    if problems := own_problems(rendered):
        raise Misconfigured("; ".join(problems))
    return rendered


def _account(settings: Settings) -> Account:
    from dashboards.metabase.client import Account

    return Account(api_key=settings.metabase_api_key, user=settings.metabase_user, password=settings.metabase_password)


def _database(settings: Settings) -> Database:
    from dashboards.metabase.provision import Database

    host, _, port = (settings.metabase_postgres or settings.postgres_address).rpartition(":")
    password = str(settings.metabase_reader_password)
    return Database(host=host, port=int(port), dbname=settings.postgres_database, password=password)


def _provide_reader(settings: Settings) -> None:
    from warehouse.postgres import opened
    from warehouse.roles import provide_metabase

    with opened(settings.postgres_dsn) as connection:
        provide_metabase(connection, str(settings.metabase_reader_password))


def _tell(outcome: Outcome) -> None:
    for change in outcome.changes:
        runtime.say(str(change))
    for note in outcome.notes:
        runtime.say(f"Note: {note}.", style="yellow")
