"""The user's file that says what to read, and which event a row is::

    NAME = "bikes"                               # the source of the events; short, lower case
    EVENTS = {"orders": "sales.order_placed"}    # by the name of a resource of dlt

    def read():                                  # called for each reading
        return sql_database(...)                 # a source of dlt, or a list of resources

It is a program of the user's: it runs with all rights of this process.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from dlt.common.exceptions import DltException
from dlt.extract import DltResource, DltSource

from producers.pipelines.intake import EVENTS, Table
from producers.pipelines.secrets import without_secrets
from schemas.catalogue import Event
from schemas.errors import Misconfigured

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFile:
    """A file that was read: the name of its source, the contract by resource, and what makes the resources."""

    path: Path
    name: str
    events: Mapping[str, Event]
    read: Callable[[], Any]

    def resources(self) -> list[DltResource]:
        """Those that ``events`` names, made anew. Raises Misconfigured when one is not among what ``read`` makes."""
        made = self.read()
        listed = made if isinstance(made, list | tuple) else [made]
        found: dict[str, DltResource] = {}
        for each in listed:
            if not isinstance(each, DltSource | DltResource):
                raise Misconfigured(f"{self.path}: read() must return a source or resources of dlt, not {each!r}")
            found |= each.resources if isinstance(each, DltSource) else {each.name: each}
        for name in self.events:
            if name not in found:
                raise Misconfigured(
                    f"{self.path}: EVENTS names the resource {name!r}, which read() does not return; it returns"
                    f" {', '.join(found) or 'none'}"
                )
        return [found[name] for name in self.events]

    def tables(self, resources: Iterable[DltResource]) -> list[Table]:
        """How their rows are published, by dlt's own hints.

        Raises Misconfigured for one without a primary key, or with another one's table.
        """
        found: dict[str, Table] = {}
        for resource in resources:
            table = self._table_of(resource)
            if table.name in found:
                raise Misconfigured(f"{self.path}: two resources have the table {table.name!r}; give each its own")
            found[table.name] = table
        return list(found.values())

    def _table_of(self, resource: DltResource) -> Table:
        try:
            schema = resource.compute_table_schema()
        except DltException as error:
            raise Misconfigured(
                f"{self.path}: the hints of the resource {resource.name!r} can't be read before its rows"
                f" ({type(error).__name__}); give a table's name and other hints as values, not as functions"
            ) from error
        columns = schema.get("columns", {})
        key = tuple(name for name, column in columns.items() if column.get("primary_key"))
        if not key:
            raise Misconfigured(
                f"{self.path}: the resource {resource.name!r} has no primary key, by which a row is known again; give"
                f" one: resource.apply_hints(primary_key='order_id')"
            )
        deleted = {name: each.get("data_type") == "bool" for name, each in columns.items() if each.get("hard_delete")}
        return Table(
            name=str(schema["name"]),
            event=self.events[resource.name],
            key=key,
            deleted=deleted,
            is_whole=schema.get("write_disposition") == "replace",
        )


def load(path: Path) -> PipelineFile:
    """The file at ``path``, which is run. Raises Misconfigured saying what is wrong with it."""
    names = _run(path)
    name, events, read = (names.get(each) for each in ("NAME", "EVENTS", "read"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Misconfigured(f"{path}: NAME must be the events' source: up to 31 of a-z, 0-9 and _, and a letter first")
    if not callable(read):
        raise Misconfigured(f"{path}: define a function read() that returns a source or resources of dlt")
    if not isinstance(events, Mapping) or not events:
        raise Misconfigured(
            f"{path}: EVENTS must say which event a resource's rows are: {{'orders': 'sales.order_placed'}}"
        )
    known = {event.name: event for event in EVENTS}
    for resource, event in events.items():
        if event not in known:
            raise Misconfigured(f"{path}: EVENTS[{resource!r}] is {event!r}, and must be one of {', '.join(known)}")
    return PipelineFile(path=path, name=name, events={each: known[event] for each, event in events.items()}, read=read)


def _run(path: Path) -> Mapping[str, Any]:
    spec = spec_from_file_location(f"insights_pipeline_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise Misconfigured(f"--pipeline {path} is not a Python file (.py)")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dlt looks for who defines a resource
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Misconfigured(f"{path} can't be run: {type(error).__name__}: {without_secrets(str(error))}") from error
    return vars(module)
