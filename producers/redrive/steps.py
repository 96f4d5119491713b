"""What the steps of a recipe do to the value of a letter. Pure: each takes an object of JSON, and changes it in place.

A field is named by its path, ``customer.id``; objects on the way are made by what writes, and none by what reads.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError

from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import PoisonEvent

Value = dict[str, Any]
Kind = Literal["text", "integer", "number", "boolean", "time", "seconds"]
Form = Literal["json", "query", "base64"]
LONGEST_NUMBER: Final = 40
LARGEST_EXPONENT: Final = 400  # a double's is 308
DEEPEST: Final = 64
BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_MISSING: Final = object()


class CannotFix(PoisonEvent):
    """A letter that a recipe can't turn into an event: the field, and what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field or 'the value'}: {problem}")
        self.field = field


def found(expression: str, document: Any) -> Any:
    """What a JMESPath expression finds; None for nothing. Raises CannotFix where it does not fit what it is given."""
    try:
        return jmespath.search(expression, _plain(document))
    except JMESPathTypeError as error:
        # Its own text has the value, in plain.
        takes = " or ".join(error.expected_types)
        problem = f"{error.function_name} takes {takes}, and is given {error.actual_type}"
        raise CannotFix("", f"{expression} can't be evaluated: {problem}") from error
    except JMESPathError as error:
        raise _not_evaluated(expression, error) from error
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CannotFix("", f"{expression} can't be evaluated: {type(error).__name__}") from error


def holds(expression: str, document: Any) -> bool:
    """Whether a condition is true of a letter. One that asks a value for what its type has not is not true of it.

    Raises CannotFix for a condition that is true of none, as one with an unknown function.
    """
    try:
        return bool(jmespath.search(expression, _plain(document)))
    except JMESPathTypeError:
        return False
    except JMESPathError as error:
        raise _not_evaluated(expression, error) from error
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return False


def _plain(what: Any) -> Any:
    """A copy with the numbers that JMESPath knows; a decimal stays one where that would change it."""
    if isinstance(what, Mapping):
        return {name: _plain(each) for name, each in what.items()}
    if isinstance(what, list):
        return [_plain(each) for each in what]
    if isinstance(what, Decimal):
        number = float(what)
        return number if math.isfinite(number) and Decimal(repr(number)) == what else what
    return what


def _not_evaluated(expression: str, error: JMESPathError) -> CannotFix:
    return CannotFix("", f"{expression} can't be evaluated: {' '.join(str(error).split())}")


def read_json(text: str | bytes) -> Any:
    """JSON with its decimals exact. Raises CannotFix for anything else, ``NaN`` among it, and for what is too deep."""
    try:
        return shallow(json.loads(text, parse_float=_number, parse_constant=_refused))
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise CannotFix("", f"is not JSON: {error}") from error


def _number(text: str) -> Decimal:
    """A few characters, 1e999999, may be a number of a million digits, which takes seconds to compute with."""
    number = Decimal(text)
    if abs(number.adjusted()) > LARGEST_EXPONENT:
        raise ValueError(f"{text[:LONGEST_NUMBER]} is out of range")
    return number


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def shallow(value: Any) -> Any:
    """The value. Raises CannotFix for one that is nested more than DEEPEST levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [each for some in inner for each in some]
        if not level:
            return value
    raise CannotFix("", f"is nested more than {DEEPEST} levels deep")


def exact(what: Any) -> Any:
    """A copy in which numbers are exact, and what YAML reads as dates and times are texts again."""
    if isinstance(what, dict):
        return {str(name): exact(each) for name, each in what.items()}
    if isinstance(what, list | tuple):
        return [exact(each) for each in what]
    if isinstance(what, float):
        return Decimal(repr(what))
    return what.isoformat() if isinstance(what, date) else what


def put(value: Value, path: str, what: Any) -> None:
    """Write a field. Raises CannotFix where something else than an object is on the way."""
    holder, name = _holder(value, path, make=True)
    assert holder is not None
    holder[name] = what


def look(value: Value, path: str) -> Any:
    """A field's value; ``is_missing`` tells when there is none."""
    holder, name = _holder(value, path, make=False)
    return _MISSING if holder is None else holder.get(name, _MISSING)


def is_missing(what: Any) -> bool:
    """Is it what ``look`` gives of a field that is not there?"""
    return what is _MISSING


def default(value: Value, path: str, what: Any) -> None:
    """Write a field that is missing or null."""
    if look(value, path) in (None, _MISSING):
        put(value, path, what)


def drop(value: Value, path: str) -> None:
    """Remove a field, if it is there."""
    holder, name = _holder(value, path, make=False)
    if holder is not None:
        holder.pop(name, None)


def rename(value: Value, old: str, new: str) -> None:
    """Move a field, if it is there. Raises CannotFix where the new one has another value already."""
    what = look(value, old)
    if is_missing(what):
        return
    there = look(value, new)
    if there not in (None, _MISSING) and there != what:
        raise CannotFix(new, f"is there already, so that {old} can't be renamed to it; drop one of the two")
    drop(value, old)
    put(value, new, what)


def keep(value: Value, fields: tuple[str, ...]) -> None:
    """Remove all other fields of the object."""
    for name in value.keys() - set(fields):
        del value[name]


def replace(value: Value, path: str, pattern: re.Pattern[str], by: str) -> None:
    """Replace all that matches in a text; null, and a field that is missing, stay."""
    _change(value, path, lambda what: pattern.sub(by, _text(path, what)))


def translate(value: Value, path: str, values: Mapping[str, Any]) -> None:
    """Replace a value by another one; what is not in the table stays."""

    def change(what: Any) -> Any:
        known = what if isinstance(what, str) else json.dumps(what, default=float)
        return exact(values[known]) if known in values else what

    _change(value, path, change)


def cast(value: Value, path: str, kind: Kind) -> None:
    """Turn a field into another type. Raises CannotFix when it is none of that type."""
    _change(value, path, lambda what: _cast(path, what, kind))


def parse(value: Value, path: str, form: Form) -> None:
    """Read the text of a field as JSON, as a query string, or as text in base64 (its alphabet for addresses too)."""
    _change(value, path, lambda what: _parsed(path, _text(path, what), form))


def _holder(value: Value, path: str, *, make: bool) -> tuple[Value | None, str]:
    *way, name = path.split(".")
    here: Any = value
    for step in way:
        below = here.get(step)
        if below is None:
            if not make:
                return None, name
            below = here[step] = {}
        if not isinstance(below, dict):
            raise CannotFix(path, f"{step} is not an object")
        here = below
    return here, name


def _change(value: Value, path: str, change: Callable[[Any], Any]) -> None:
    what = look(value, path)
    if what not in (None, _MISSING):
        put(value, path, change(what))


def _text(path: str, what: Any) -> str:
    if isinstance(what, str):
        return what
    raise CannotFix(path, f"is {what!r}, which is no text; cast it first")


def _cast(path: str, what: Any, kind: Kind) -> Any:
    try:
        return CASTS[kind](what)
    except (ValueError, TypeError, ArithmeticError, KeyError) as error:
        raise CannotFix(path, f"is {what!r}, which can't be read as {kind}") from error


def _as_text(what: Any) -> str:
    if isinstance(what, str):
        return what
    if isinstance(what, bool) or not isinstance(what, int | Decimal):
        raise TypeError
    return str(what)


def _as_number(what: Any) -> Decimal:
    if isinstance(what, bool) or not isinstance(what, int | str | Decimal) or len(str(what)) > LONGEST_NUMBER:
        raise TypeError
    number = Decimal(what)
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        raise ValueError
    return number


def _as_integer(what: Any) -> int:
    number = _as_number(what)
    if number != int(number):
        raise ValueError
    return int(number)


def _as_boolean(what: Any) -> bool:
    return BOOLEANS[str(what).strip().casefold()]


def _as_time(what: Any) -> int:
    """Milliseconds since 1970 of a time in ISO 8601 with its zone."""
    at = datetime.fromisoformat(what)
    return (at - EPOCH) // MILLISECOND


CASTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "text": _as_text,
    "integer": _as_integer,
    "number": _as_number,
    "boolean": _as_boolean,
    "time": _as_time,
    "seconds": lambda what: int(_as_number(what) * 1000),
}


def _parsed(path: str, text: str, form: Form) -> Any:
    try:
        if form == "json":
            return read_json(text)
        if form == "query":
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1000))
        return _of_base64(text)
    except (CannotFix, binascii.Error, ValueError) as error:
        raise CannotFix(path, f"can't be read as {form}") from error


def _of_base64(text: str) -> str:
    padded = text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)
    return base64.b64decode(padded, validate=True).decode()
