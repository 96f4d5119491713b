"""Is a contract FULL_TRANSITIVE compatible with every version released before it?

Both directions of Avro's schema resolution (new reader with old records, old reader with new ones) by Apache Avro's
own checker, plus what this project asks on top: topic, key, partitions never change within a major version, and a
field added to a released contract is ["null", T] with default null, because Flink reads a missing field as NULL
whatever its default says.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import make_avsc_object

from schemas.catalogue import HERE, Event, events, parse_event
from schemas.errors import IncompatibleSchema, Misconfigured

FIXED = ("topic", "key", "partitions")


def check_against(event: Event, released: Mapping[str, str]) -> None:
    """Judge ``event`` against ``{label of a released version: schema text}``.

    Raises IncompatibleSchema naming reader, writer and field of the first break.
    """
    for label, text in released.items():
        old = json.loads(text)
        for reader, writer, reader_label, writer_label in (
            (event.avro_schema, old, "this version", label),
            (old, event.avro_schema, label, "this version"),
        ):
            if problem := _unreadable(reader, writer):
                raise IncompatibleSchema(
                    f"{event.name}: {reader_label} (reader) cannot read what {writer_label} (writer) wrote: {problem}."
                    " Add a new nullable field with default null instead, or start a new major version of the topic"
                )
        _check_added(event, old, label)


def _unreadable(reader: dict[str, Any], writer: dict[str, Any]) -> str | None:
    result = ReaderWriterCompatibilityChecker().get_compatibility(_parse(reader), _parse(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return None
    where = ", ".join(_field_path(reader, writer, location) for location in sorted(result.locations))
    return f"field {where}: {'; '.join(sorted(result.messages))}"


def _parse(schema: dict[str, Any]) -> Any:
    return make_avsc_object(schema)


def _field_path(reader: dict[str, Any], writer: dict[str, Any], location: str) -> str:
    """Turns the checker's ``/fields/6/type/items`` into the names along it: ``lines``."""
    names: list[str] = []
    for root in (reader, writer):
        node: Any = root
        names = []
        for step in (s for s in location.split("/") if s):
            try:
                node = node[int(step)] if isinstance(node, list) else node[step]
            except (KeyError, IndexError, ValueError, TypeError):
                break
            if isinstance(node, dict) and "name" in node and "type" in node and step.isdigit():
                names.append(str(node["name"]))
        if names:
            break
    return ".".join(names) or location or "?"


def _check_added(event: Event, old: dict[str, Any], label: str) -> None:
    known = {field["name"] for field in old["fields"]}
    for field in event.avro_schema["fields"]:
        nullable = isinstance(field["type"], list) and field.get("default", "") is None
        if field["name"] not in known and not nullable:
            raise IncompatibleSchema(
                f"{event.name}: field {field['name']} is not in {label}, and an added field must be"
                ' ["null", T] with default null: Flink reads it as NULL in older records, whatever its default'
            )


def check_released(ref: str | None = None) -> list[str]:
    """Judge every contract against the released ones in git and return what was compared, one line each.

    A release is a tag ``v*``; with ``ref``, that commit alone; with no tag yet, HEAD. Raises IncompatibleSchema.
    """
    refs = [ref] if ref else _git("tag", "--list", "v*", "--merged", "HEAD").split() or ["HEAD"]
    compared = []
    for at in refs:
        for path in _released_files(at):
            name = Path(path).name
            released = parse_event(_git("show", f"{at}:{path}"), f"{name} at {at}")
            current = next((e for e in events() if e.topic == released.topic), None)
            if current is None:
                raise IncompatibleSchema(f"{released.name}: released in {at} and gone now; a released topic stays")
            for attribute in FIXED:
                before, now = getattr(released, attribute), getattr(current, attribute)
                if before != now:
                    raise IncompatibleSchema(
                        f"{current.name}: {attribute} was {before!r} in {at} and is {now!r}; it never changes within a"
                        " major version"
                    )
            check_against(current, {f"the release {at}": json.dumps(released.avro_schema)})
            compared.append(f"{current.name}: compatible with {at}")
    return compared


def _released_files(ref: str) -> list[str]:
    return [p for p in _git("ls-tree", "--name-only", "--full-tree", ref, "schemas/").split() if p.endswith(".avsc")]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise Misconfigured(
            f"git {' '.join(arguments)} failed: {done.stderr.strip()}; run this in a clone with history"
        )
    return done.stdout
