"""``insights schemas``: the contracts, checked and registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.cli.terminal_table import Column, TerminalTable
from insights.settings import load_settings
from schemas.catalogue import Event, avro_events, events
from schemas.errors import RegistryUnavailable
from schemas.plural import counted

if TYPE_CHECKING:
    from schemas.registry import Registry

app = runtime.group("Event contracts: one Avro schema per event.", example="insights schemas list")
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Compare with git only, not with the registry.")]
Ref = Annotated[
    str | None, typer.Option(metavar="REF", help="Compare with this commit or tag instead of every release.")
]


@app.command()
def check(offline: Offline = False, ref: Ref = None) -> None:
    """Check that every contract is compatible with its released versions, in git and in the registry.

    Example: insights schemas check --offline
    """
    from schemas.compatibility import check_released
    from schemas.registry import Registry

    for line in check_released(ref):
        runtime.say(line)
    if not offline:
        registry = Registry(load_settings().registry_url)
        for event in avro_events():
            registry.check(event)
            runtime.say(f"{event.name}: compatible with the registry")


@app.command()
def register() -> None:
    """Register every contract with the registry. Registered versions are left alone.

    Example: insights schemas register
    """
    from schemas.registry import Registry

    sheet = TerminalTable("contracts", Column(), Column(name="schema id", right=True))
    for name, schema_id in Registry(load_settings().registry_url).register_all().items():
        sheet.add(name, str(schema_id))
    runtime.show(sheet)


@app.command("list")
def list_() -> None:
    """List the contracts and their number of versions in the registry.

    Example: insights schemas list
    """
    from schemas.registry import Registry

    registry = Registry(load_settings().registry_url)
    versions = {event.topic: _versions(registry, event) for event in events()}
    sheet = TerminalTable(
        "topics",
        *(Column(), Column(name="key"), Column(name="partitions", right=True), Column(name="kept")),
        Column(name="versions", right=True),
        note=f"? the registry at {registry.url} is unreachable" if "?" in versions.values() else "",
    )
    for event in events():
        sheet.add(event.topic, event.key, str(event.partitions), _kept(event), versions[event.topic])
    runtime.show(sheet)


def _kept(event: Event) -> str:
    if event.cleanup == "compact":
        return "latest by key"
    return "forever" if event.retention_days is None else counted(event.retention_days, "day")


def _versions(registry: Registry, event: Event) -> str:
    if event.format != "avro":
        return "not Avro"
    try:
        return str(len(registry.versions(event)))
    except RegistryUnavailable:
        return "?"
