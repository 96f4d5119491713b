"""Is a contract FULL_TRANSITIVE compatible with every version released before it?

Both directions of Avro's schema resolution (new reader with old records, old reader with new ones) by Apache Avro's
own checker, plus what this project adds: topic, key, partitions never change within a major version, and a
field added to a released contract is ["null", T] with default null, because Flink reads a missing field as NULL
whatever its default, in a nested record as well; a released field stays, because its column in the lake does;
and it keeps its logical type, scale included, which the checker does not look at.
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
            if problem := unreadable(reader, writer):
                raise IncompatibleSchema(
                    f"{event.name}: {reader_label} (reader) cannot read what {writer_label} (writer) wrote: {problem}."
                    " Add a new nullable field with default null instead, or start a new major version of the topic"
                )
        _check_fields(event, event.avro_schema, old, label)


def unreadable(reader: dict[str, Any], writer: dict[str, Any]) -> str | None:
    """Why a reader's record can't be read from what a writer wrote, with the fields; None when it can."""
    if not (problem := _problem(reader, writer)):
        return None
    fields = ", ".join(_broken_fields(reader, writer)) or str(reader["name"])
    return f"field {fields}: {problem}"


def _problem(reader: Any, writer: Any) -> str | None:
    result = ReaderWriterCompatibilityChecker().get_compatibility(_parse(reader), _parse(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return None
    return "; ".join(sorted(result.messages))


def _parse(schema: Any) -> Any:
    return make_avsc_object(schema)


def _broken_fields(reader: dict[str, Any], writer: dict[str, Any], path: str = "") -> list[str]:
    """Dotted paths of the reader's fields that can't be read; the checker itself has only places in the JSON."""
    written = {field["name"]: field["type"] for field in writer["fields"]}
    found = []
    for field in reader["fields"]:
        name = f"{path}{field['name']}"
        if field["name"] not in written:
            found += [] if "default" in field else [name]
            continue
        theirs = written[field["name"]]
        if _problem(field["type"], theirs):
            inner, outer = _record_in(field["type"]), _record_in(theirs)
            below = _broken_fields(inner, outer, f"{name}.") if inner and outer else []
            found += below or [name]
    return found


def _record_in(schema: Any) -> dict[str, Any] | None:
    """The record that a field is made of: itself, or the one in its union, array or map."""
    if isinstance(schema, list):
        return next((record for branch in schema if (record := _record_in(branch))), None)
    if not isinstance(schema, dict):
        return None
    if schema["type"] == "record":
        return schema
    return _record_in(schema.get("items", schema.get("values")))


def _check_fields(event: Event, mine: dict[str, Any], old: dict[str, Any], label: str, path: str = "") -> None:
    """What Flink and the lake require beyond Avro, in nested records too."""
    known = {field["name"]: field["type"] for field in old["fields"]}
    for field in mine["fields"]:
        name = f"{path}{field['name']}"
        nullable = isinstance(field["type"], list) and field["type"][0] == "null" and field.get("default", "") is None
        if field["name"] in known:
            _check_known_field(event, name, field["type"], known[field["name"]], label)
        elif not nullable:
            raise IncompatibleSchema(
                f"{event.name}: field {name} is not in {label}, and an added field must be"
                ' ["null", T] with default null: Flink reads it as NULL in older records, whatever its default'
            )
    if gone := known.keys() - {field["name"] for field in mine["fields"]}:
        raise IncompatibleSchema(
            f"{event.name}: field {path}{min(gone)} is in {label} but has been removed; the lake keeps its column, so a"
            " released field must stay: write null into it, or start a new major version of the topic"
        )


def _check_known_field(event: Event, name: str, mine: Any, old: Any, label: str) -> None:
    if _meaning(mine) != _meaning(old):
        raise IncompatibleSchema(
            f"{event.name}: field {name} is {_meaning(mine)} in this version and {_meaning(old)} in {label}:"
            " readers would misread the same bytes. Add a new nullable field instead"
        )
    inner, outer = _record_in(mine), _record_in(old)
    if inner and outer:
        _check_fields(event, inner, outer, label, f"{name}.")


def logical_difference(reader: dict[str, Any], writer: dict[str, Any], path: str = "") -> str | None:
    """The first field of both whose logical type differs, so that one would misread the other; None without one."""
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        name, mine = f"{path}{field['name']}", field["type"]
        if field["name"] not in written:
            continue
        theirs = written[field["name"]]
        if _meaning(mine) != _meaning(theirs):
            return f"field {name} is {_meaning(theirs)} in it and {_meaning(mine)} in the contract"
        inner, outer = _record_in(mine), _record_in(theirs)
        if inner and outer and (found := logical_difference(inner, outer, f"{name}.")):
            return found
    return None


def _meaning(schema: Any) -> str:
    """The logical type at the bottom of a type, which Avro's own checker does not look at: ``decimal(12, 2)``."""
    if isinstance(schema, list):
        return next((meaning for branch in schema if (meaning := _meaning(branch)) != "plain"), "plain")
    if not isinstance(schema, dict):
        return "plain"
    if schema.get("logicalType") == "decimal":
        return f"decimal({schema['precision']}, {schema.get('scale', 0)})"
    below = schema.get("items", schema.get("values"))
    return str(schema["logicalType"]) if "logicalType" in schema else _meaning(below)


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
                raise IncompatibleSchema(
                    f"{released.name}: released in {at} but has been removed; a released topic must stay"
                )
            for attribute in FIXED:
                before, now = getattr(released, attribute), getattr(current, attribute)
                if before != now:
                    raise IncompatibleSchema(
                        f"{current.name}: {attribute} was {before!r} in {at} and is {now!r};"
                        " it must not change within a major version"
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
            f"git {' '.join(arguments)} failed: {done.stderr.strip()}; run this in a clone with full history"
        )
    return done.stdout
