"""What a contract requires of a value beyond its type: attributes of a field, unknown to Avro.

=============  ====================================================================================
``minimum``    the least number that it may be
``min_items``  the fewest items that an array has
``currency``   ``"shop"``: a code of ISO 4217, and the shop's where that is known
``at_most``    an expression over the fields of its record that it must not exceed
``at_least``   an expression that it must not fall below
=============  ====================================================================================

An expression is a whole number, the name of a field, a product (``quantity * unit_price``), or the sum of a field over
an array (``sum(lines.amount)``). Producers enforce them; what others put on the log is counted as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from schemas import currency as currencies
from schemas.binary import MISFITS, Misfit, within

RULES = ("minimum", "min_items", "currency", "at_most", "at_least")
_BOUNDS = ("at_most", "at_least")
_OF_AVRO = ("name", "type", "doc", "default", "aliases", "order")
_TERM = re.compile(r"sum\((\w+)\.(\w+)\)|(\w+)")
_SHAPE = re.compile(r"sum\(\w+\.\w+\)|\w+( \* \w+)*")


def without_rules(schema: Any) -> Any:
    """The Avro schema alone."""
    if isinstance(schema, list):
        return [without_rules(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    is_field = "name" in schema and "type" in schema and schema["type"] not in ("record", "enum", "fixed")
    return {k: without_rules(v) for k, v in schema.items() if not (is_field and k in RULES)}


def refuse_unknown(schema: Any) -> None:
    """Raises ValueError for a field's attribute that is no rule, and for an expression that names no field.

    Either would be a rule that is never enforced. ``schema`` is a record's.
    """
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    for field in schema["fields"]:
        if unknown := sorted(field.keys() - {*_OF_AVRO, *RULES}):
            raise ValueError(f"field {field['name']}: {unknown[0]!r} is no rule; the rules are {', '.join(RULES)}")
        for bound in (bound for bound in _BOUNDS if bound in field):
            if missing := _missing_in(fields, field[bound]):
                raise ValueError(f"field {field['name']}: {bound} names {missing}, which is no field of its record")
        for inner in _records_in(field["type"]):
            refuse_unknown(inner)


def _missing_in(fields: Mapping[str, Any], expression: str) -> str | None:
    source_of(expression, "r")
    for items, item, name in _TERM.findall(expression):
        within_items = {field["name"] for inner in _records_in(fields.get(items)) for field in inner["fields"]}
        if items and item not in within_items:
            return f"{items}.{item}"
        if name and not name.isdecimal() and name not in fields:
            return str(name)
    return None


def _records_in(schema: Any) -> list[Any]:
    kind = schema[1] if isinstance(schema, list) else schema
    if not isinstance(kind, dict):
        return []
    return [kind] if kind["type"] == "record" else _records_in(kind.get("items", kind.get("values")))


def source_of(expression: str, record: str) -> str:
    """An expression as Python that reads from a record of that name. Raises ValueError for what is none."""
    if not isinstance(expression, str) or not _SHAPE.fullmatch(expression):
        raise ValueError(f"{expression!r} is not a valid expression of a rule; see schemas/rules.py")

    def term(found: re.Match[str]) -> str:
        items, item, name = found.groups()
        if items:
            return f"sum(i[{item!r}] for i in {record}[{items!r}])"
        return str(int(name)) if name.isdecimal() else f"{record}[{name!r}]"

    return _TERM.sub(term, expression)


@cache
def _compiled(expression: str) -> Callable[[Mapping[str, Any]], Any]:
    compute: Callable[[Mapping[str, Any]], Any] = eval(f"lambda r: {source_of(expression, 'r')}")  # noqa: S307
    return compute


def check(schema: Any, record: Mapping[str, Any], shops: str | None, path: str = "") -> None:
    """Raises Misfit naming the first field that breaks a rule. The record's types are right."""
    for field in schema["fields"]:
        name = field["name"]
        here, value = within(path, name), record.get(name)
        if value is None:
            continue
        if problem := _problem(field, record, value, shops):
            raise Misfit(here, problem)
        for place, inner, item in _records_of(field["type"], value, here):
            check(inner, item, shops, place)


def _records_of(schema: Any, value: Any, path: str) -> list[tuple[str, Any, Any]]:
    kind = schema[1] if isinstance(schema, list) else schema
    if not isinstance(kind, dict):
        return []
    if kind["type"] == "record":
        return [(path, kind, value)]
    if kind["type"] == "array":
        return [found for n, item in enumerate(value) for found in _records_of(kind["items"], item, f"{path}[{n}]")]
    return []


def _problem(field: Mapping[str, Any], record: Mapping[str, Any], value: Any, shops: str | None) -> str | None:
    if "minimum" in field and value < field["minimum"]:
        return f"is {value}; the minimum is {field['minimum']}"
    if "min_items" in field and len(value) < field["min_items"]:
        return f"has {len(value)} items; the minimum is {field['min_items']}"
    if "currency" in field and (problem := currency_problem(value, shops)):
        return problem
    for bound, word, wrong in zip(_BOUNDS, ("more", "less"), (1, -1), strict=True):
        if bound in field:
            try:
                limit = _compiled(field[bound])(record)
            except MISFITS:
                continue  # a field that it needs is wrong itself, and named
            if (value > limit) if wrong > 0 else (value < limit):
                return f"is {value}, which is {word} than {field[bound]}, {limit}"
    return None


def currency_problem(code: str, shops: str | None) -> str | None:
    """What is wrong with the currency of an event that is in the shop's; None when nothing is."""
    if problem := currencies.problem(code):
        return f"is {code!r}, which {problem}"
    if shops is not None and code != shops:
        return (
            f"is {code}, but this shop's currency is {shops}: amounts in two currencies can't be added. Convert them"
            f" before they are published, or set INSIGHTS_CURRENCY={code} for a shop of its own"
        )
    return None
