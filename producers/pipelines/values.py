"""From a row to a record: a column is the contract's field of the same name, its value the field's type, exactly. Pure.

Rows travel as JSON in which a decimal is a text, so that a number with a fraction was a float in the source, and is
refused where the contract has a decimal: nobody knows any more what it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from schemas.binary import kind_of, within
from schemas.catalogue import Event
from schemas.errors import ContractBroken

ENVELOPE: Final = ("event_id", "source", "trace")
INTEGER: Final = re.compile(r"[+-]?\d{1,19}(?:\.0*)?")
Row = Mapping[str, Any]
UNWRITABLE: Final = float("nan")


class AllRead(dict[str, Any]):
    """Instead of a row: all rows before it in its reading are all that there are."""


class Inexact(str):
    """A number that was a float, as it was written."""

    __slots__ = ()


class _Unfit(Exception):
    """Where in the record, and what is wrong there."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem


def written(row: Row) -> str:
    """A row as JSON, in ASCII. A value of a type that no contract has is written as its text, and one that can't be
    written, such as a number of 5,000 digits, as one that every contract refuses.
    """
    try:
        return json.dumps(row, default=_plain)
    except (ValueError, TypeError, RecursionError):
        return json.dumps({str(name): _writable(value) for name, value in row.items()}, default=_plain)


def _writable(value: object) -> object:
    try:
        json.dumps(value, default=_plain)
    except (ValueError, TypeError, RecursionError):
        return UNWRITABLE
    return value


def _plain(value: object) -> object:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return value.hex() if isinstance(value, bytes) else str(value) if isinstance(value, Decimal | UUID) else repr(value)


def read(text: str) -> dict[str, Any]:
    """The row that ``written`` wrote, its floats as Inexact."""
    found = json.loads(text, parse_float=Inexact, parse_constant=Inexact)
    assert isinstance(found, dict)
    return found


def record_of(event: Event, row: Row) -> dict[str, Any]:
    """The event's fields in a row, but for its envelope and version. Columns that the contract has not are left out.

    What a row has not is empty: null, no items, an enum's default. Raises ContractBroken naming a field that can't be
    empty, or whose value is not of its type.
    """
    own = (event.versions.by, event.versions.void) if event.versions else ()
    fields = [field for field in event.schema["fields"] if field["name"] not in (*ENVELOPE, *own)]
    try:
        return {field["name"]: _field(field, row, "") for field in fields}
    except _Unfit as unfit:
        raise ContractBroken(event.name, unfit.path, unfit.problem) from unfit


def _field(field: Mapping[str, Any], row: Row, path: str) -> Any:
    name, schema = field["name"], field["type"]
    value = row.get(name)
    if value is not None:
        return _converted(schema, value, within(path, name))
    match kind_of(schema):
        case "union":
            return None
        case "array":
            return []
        case "map":
            return {}
        case "enum" if "default" in schema:
            return schema["default"]
    said = "is null" if name in row else f"is missing: the row has no column {name}"
    raise _Unfit(within(path, name), said)


def _converted(schema: Any, value: Any, path: str) -> Any:
    kind = kind_of(schema)
    if kind == "union":
        return _converted(schema[1], value, path)
    if kind in ("array", "map", "record"):
        return _nested(schema, kind, value, path)
    try:
        found = SCALARS[kind](value) if kind in SCALARS else value
    except (ValueError, ArithmeticError, TypeError) as error:
        raise _Unfit(path, f"is {_shown(value)}, which is {error}") from error
    return found


def _nested(schema: Any, kind: str, value: Any, path: str) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise _Unfit(path, f"is a text that is not JSON ({error})") from error
    if kind == "array" and isinstance(value, list):
        return [_converted(schema["items"], item, f"{path}[{n}]") for n, item in enumerate(value)]
    if kind == "map" and isinstance(value, dict):
        return {name: _converted(schema["values"], item, f"{path}[{name!r}]") for name, item in value.items()}
    if kind == "record" and isinstance(value, dict):
        return {field["name"]: _field(field, value, path) for field in schema["fields"]}
    raise _Unfit(path, f"is {_shown(value)}, which is not {'a list' if kind == 'array' else 'an object'}")


def _text(value: Any) -> str:
    if isinstance(value, Inexact | bool) or not isinstance(value, str | int):
        raise TypeError("not a text")
    return str(value)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Inexact):
        raise TypeError(
            "a float, so its digits may not be those of the source: read JSON with exact_session, cast to text in SQL"
        )
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("not a decimal")
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise ValueError("not a decimal") from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or not INTEGER.fullmatch(str(value)):
        raise TypeError("not a whole number")
    return int(Decimal(str(value)))


def _boolean(value: Any) -> bool:
    if value not in (0, 1) or isinstance(value, Decimal):
        raise TypeError("neither true nor false")
    return bool(value)


def _time(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ValueError("not a time in ISO 8601") from error
    if at.tzinfo is None:
        raise ValueError(
            "without a time zone: add it where it is read (in SQL: placed_at at time zone 'Europe/Berlin')"
        )
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not in the years 1 to 9999 in UTC") from error


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ValueError("not a date in ISO 8601") from error


def _shown(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str | Decimal) else json.dumps(value, default=str)


SCALARS: Final = {
    "string": _text,
    "enum": _text,
    "decimal": _decimal,
    "int": _integer,
    "long": _integer,
    "boolean": _boolean,
    "timestamp-millis": _time,
    "date": _day,
}
