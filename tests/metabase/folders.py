"""Small folders of dashboards for tests, and the command that brings them to a Metabase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import yaml
from click.testing import Result
from typer.testing import CliRunner

from insights.cli.main import app
from insights.settings import Settings
from tests.metabase.stand_in import API_KEY, StandIn

USER, PASSWORD = "owner@shop.example", "long and not common"
READER_PASSWORD = "only for reading"


def a_card(name: str, **changes: Any) -> dict[str, Any]:
    """A number, unless ``changes`` override it; ``at_row`` is its place."""
    row = changes.pop("at_row", 0)
    card = {
        "id": name,
        "kind": "number",
        "title": name.capitalize(),
        "sql": "select 1 as value",
        "layout": {"row": row, "col": 0, "width": 24, "height": 3},
    }
    return card | changes


def a_dashboard(*cards: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"title": "Sales", "refresh_seconds": 2, "cards": list(cards) or [a_card("orders")]} | changes


def written(folder: Path, **dashboards: dict[str, Any]) -> Path:
    """The folder, with these dashboards and no others."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    for name, document in dashboards.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


class Command:
    """``insights dashboards`` on one Metabase and one Postgres."""

    def __init__(self, stand_in: StandIn, dsn: str, folder: Path, **environment: str) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        values = {
            "postgres_port": str(parts["port"]),
            "postgres_password": str(parts["password"]),
            "metabase_url": stand_in.url,
            "metabase_user": USER,
            "metabase_password": PASSWORD,
            "metabase_reader_password": READER_PASSWORD,
        }
        self.folder = folder
        self.environment = {Settings.variable(name): value for name, value in (values | environment).items()}

    def __call__(self, command: str, *options: str, **environment: str) -> Result:
        """What it printed, and how it ended."""
        given = {Settings.variable(name): value for name, value in environment.items()}
        return CliRunner().invoke(
            app, ["dashboards", command, "--folder", str(self.folder), *options], env=self.environment | given
        )

    def apply(self) -> list[str]:
        """The lines that it prints, those with addresses left out. Fails unless it ends well."""
        done = self("apply")
        assert done.exit_code == 0, done.output
        return [line for line in done.output.splitlines() if "/dashboard/" not in line]


def with_key(command: Command) -> dict[str, str]:
    """The environment in which it asks with a key only."""
    kept = ("INSIGHTS_METABASE_USER", "INSIGHTS_METABASE_PASSWORD")
    return {n: v for n, v in command.environment.items() if n not in kept} | {"INSIGHTS_METABASE_API_KEY": API_KEY}
