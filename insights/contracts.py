"""``insights schemas``: the contracts, checked and registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from insights import front
from insights.settings import load_settings
from schemas.catalogue import Event, avro_events, events
from schemas.errors import RegistryUnavailable

if TYPE_CHECKING:
    from schemas.registry import Registry

app = front.group("The contracts: one Avro schema an event.")
Offline = Annotated[bool, typer.Option("--offline", help="Only against the released contracts in git.")]
Ref = Annotated[str | None, typer.Option(help="A commit or tag, instead of every release.")]


@app.command()
def check(offline: Offline = False, ref: Ref = None) -> None:
    """Check that every contract still fits all its released versions, in git and in the registry.

    Example: insights schemas check --offline
    """
    from schemas.compatibility import check_released
    from schemas.registry import Registry

    for line in check_released(ref):
        front.out.print(line, highlight=False)
    if not offline:
        registry = Registry(load_settings().registry_url)
        for event in avro_events():
            registry.check(event)
            front.out.print(f"{event.name}: compatible with the registry", highlight=False)


@app.command()
def register() -> None:
    """Register every contract with the registry; those that are there already stay as they are.

    Example: insights schemas register
    """
    from schemas.registry import Registry

    table = _table("contract", "schema id")
    for name, schema_id in Registry(load_settings().registry_url).register_all().items():
        table.add_row(name, str(schema_id))
    front.out.print(table)


@app.command("list")
def list_() -> None:
    """List the contracts, and how many versions of each the registry has.

    Example: insights schemas list
    """
    from schemas.registry import Registry

    registry = Registry(load_settings().registry_url)
    table = _table("topic", "key", "partitions", "kept", "versions")
    for event in events():
        table.add_row(event.topic, event.key, str(event.partitions), _kept(event), _versions(registry, event))
    front.out.print(table)


def _kept(event: Event) -> str:
    if event.cleanup == "compact":
        return "newest a key"
    return "for ever" if event.retention_days is None else f"{event.retention_days} days"


def _versions(registry: Registry, event: Event) -> str:
    if event.format != "avro":
        return "not Avro"
    try:
        return str(len(registry.versions(event)))
    except RegistryUnavailable:
        return "unknown: away"


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    return table
