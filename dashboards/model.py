"""What a dashboard is: the YAML files next to this module, read into frozen models.

The page draws them, and other tools (Metabase) can be fed from them, so nothing here knows how a card is drawn:

- SQL is plain Postgres, one read-only statement. ``{{name}}`` stands for a parameter's value, ``{{snippet: name}}``
  for text from ``snippets``, and ``[[and region = {{region}}]]`` is left out while a parameter in it has no value: all
  three as Metabase writes them.
- What a card reads is what its SQL names: ``live.…``, ``events.…``, ``marts.…``, ``ops.…``.
- Cards lie on Metabase's grid: 24 columns, rows of one unit, by the place of their upper left corner.
- What each kind's SQL must return is documented at its class (cards.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from dashboards.card_sql import OPTIONAL, PLACEHOLDER, Statement, Text, relations
from dashboards.cards import KINDS, Card, FrozenModel, Name, TableCard
from schemas.catalogue import events
from schemas.errors import Misconfigured, advice


class Choice(FrozenModel):
    """One value that a parameter can have, and what people read."""

    title: Text
    value: Text


class Parameter(FrozenModel):
    """A value that the reader picks from a list; SQL refers to it as ``{{name}}``.

    A short list stands in ``choices``, and ``default`` is one of its values. One that grows is asked of the data:
    ``choices_sql`` returns ``value`` and ``title``, both text, and the first row is the default. While there is no row,
    the value is an empty text.

    Attributes:
        all: what the choice of no value is called (``All regions``); it is then the first choice and the default, its
            value is an empty text, and SQL names the parameter in optional clauses only.
        free: a value that is not in the list may be typed, or be linked to.
    """

    name: Name
    title: Text
    choices: tuple[Choice, ...] = ()
    choices_sql: Statement | None = None
    default: str = ""
    all: Text | None = None
    free: bool = False

    @model_validator(mode="after")
    def _one_list_and_its_default(self) -> Self:
        values = [choice.value for choice in self.choices]
        if bool(values) == bool(self.choices_sql):
            raise ValueError("give either 'choices' or 'choices_sql'")
        if self.all and self.default:
            raise ValueError("the choice of 'all' is the default; remove 'default' or 'all'")
        if values and not self.all and self.default not in values:
            raise ValueError(f"default {self.default!r} is not one of the choices ({', '.join(values)})")
        if self.choices_sql and self.default:
            raise ValueError("the first row of 'choices_sql' is the default; remove 'default'")
        return self


class Dashboard(FrozenModel):
    """One dashboard. Its money is in the shop's currency, which the renderer is given.

    ``place`` orders the dashboards where they are listed, least first. Where people log in, only those with the role
    ``seen_by``, or one above it, see it.
    """

    title: Text
    place: int = 100
    seen_by: Literal["viewer", "analyst", "operator"] = "viewer"
    description: str = ""
    refresh_seconds: float = Field(ge=0.5, le=3600)
    parameters: tuple[Parameter, ...] = ()
    snippets: dict[str, str] = {}
    cards: tuple[Card, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = [*self._repeated_ids(), *self._overlaps(), *self._unknown_names(), *self._unknown_targets()]
        problems += [*self._without_a_value(), *self._unknown_sources()]
        problems += [] if problems else self._unreadable()
        if sum(card.kind == "freshness" for card in self.cards) > 1:
            problems.append("there is more than one freshness card; keep one")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _repeated_ids(self) -> list[str]:
        ids = [card.id for card in self.cards]
        return [
            f"card {i}, field id: another card has the same id; rename one"
            for i in sorted({i for i in ids if ids.count(i) > 1})
        ]

    def _overlaps(self) -> list[str]:
        return [
            f"card {b.id}, field layout: it overlaps card {a.id}; move one of them"
            for a, b in combinations(self.cards, 2)
            if a.layout.overlaps(b.layout)
        ]

    def _unknown_names(self) -> list[str]:
        problems, used = [], set()
        for place, text in self._texts():
            for found in PLACEHOLDER.finditer(text):
                known = self.snippets if found["snippet"] else {p.name for p in self.parameters}
                used.add((bool(found["snippet"]), found["name"]))
                if found["name"] not in known:
                    what = "snippet" if found["snippet"] else "parameter"
                    there = ", ".join(sorted(known)) or "none"
                    problems.append(f"{place}: {found[0]} names no {what}; there are: {there}")
        problems += [
            f"parameter {p.name}: no SQL uses it; remove it" for p in self.parameters if (False, p.name) not in used
        ]
        problems += [f"snippet {s}: no SQL uses it; remove it" for s in self.snippets if (True, s) not in used]
        return problems

    def _unknown_targets(self) -> list[str]:
        known = [p.name for p in self.parameters]
        return [
            f"card {card.id}, field columns.{column.column}.sets: {column.sets} names no parameter; there are:"
            f" {', '.join(known) or 'none'}"
            for card in self.cards
            if isinstance(card, TableCard)
            for column in card.columns
            if column.sets and not column.opens and column.sets not in known
        ]

    def _unknown_sources(self) -> list[str]:
        known = sorted(e.topic for e in events() if e.freshness)
        return [
            f"card {card.id}, field reads: {source} is no topic whose freshness a contract states; there are:"
            f" {', '.join(known)}"
            for card in self.cards
            for source in card.reads
            if source not in known
        ]

    def _unreadable(self) -> Iterator[str]:
        """Statements that are no SQL, once every name in them is known."""
        for place, sql in self._texts():
            if not place.startswith("snippet "):  # a piece of one: it is read where it stands
                try:
                    relations(self.expanded(sql))
                except (ValueError, Misconfigured) as error:
                    yield f"{place}: {error}"

    def _without_a_value(self) -> list[str]:
        """Places where a parameter that may have no value is named outside of an optional clause."""
        optional = {p.name for p in self.parameters if p.all}
        named = [
            (where, m["name"]) for where, sql in self._texts() for m in PLACEHOLDER.finditer(OPTIONAL.sub("", sql))
        ]
        return [
            f"{where}: {{{{{name}}}}} may have no value; write it in an optional clause, [[and x = {{{{{name}}}}}]]"
            for where, name in named
            if name in optional
        ]

    def _texts(self) -> list[tuple[str, str]]:
        found = [(f"snippet {name}", text) for name, text in self.snippets.items()]
        found += [(f"card {c.id}, field {field}", sql) for c in self.cards for field, sql in c.statements.items()]
        found += [(f"parameter {p.name}, field choices_sql", p.choices_sql) for p in self.parameters if p.choices_sql]
        return found

    def expanded(self, sql: str) -> str:
        """``sql`` with its snippets put in, to any depth of eight; parameters stay as ``{{name}}``."""
        for _ in range(9):
            if not any(m["snippet"] for m in PLACEHOLDER.finditer(sql)):
                return sql
            sql = PLACEHOLDER.sub(lambda m: self.snippets[m["name"]] if m["snippet"] else m[0], sql)
        raise Misconfigured("snippets contain each other; break the cycle")

    def relations(self, card: Card) -> tuple[str, ...]:
        """The tables and views that a card reads, sorted, for any parameters."""
        return tuple(sorted({name for sql in card.statements.values() for name in relations(self.expanded(sql))}))


def load(path: Path) -> Dashboard:
    """The dashboard in ``path``. Raises Misconfigured naming file, card, field and what to do, a line a problem."""
    try:
        # The loader in C takes a tenth of the time, and opening the page waits for it.
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise Misconfigured(f"{path}: can't be read ({error.strerror}); name a dashboard's YAML file") from error
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path}: is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise Misconfigured(f"{path}: is not a mapping; start it with 'title:' as in dashboards/sales_overview.yaml")
    try:
        return Dashboard.model_validate(document)
    except ValidationError as error:
        problems = [line for e in error.errors() for line in _explain(dict(e), document)]
        raise Misconfigured("\n".join(f"{path}: {line}" for line in problems)) from error


def _explain(error: dict[str, Any], document: dict[str, Any]) -> list[str]:
    place = _place(error["loc"], document)
    if error["type"] == "value_error":
        return [f"{place}: {line}" if place else line for line in str(error["ctx"]["error"]).splitlines()]
    of_kind = {
        "union_tag_invalid": f"field kind is unknown; use one of {', '.join(KINDS)}",
        "union_tag_not_found": f"field kind is missing; add it, one of {', '.join(KINDS)}",
    }.get(error["type"])
    return [f"{place}{':' if place else ''} {of_kind or advice(error)}".strip()]


def _place(loc: tuple[Any, ...], document: dict[str, Any]) -> str:
    """``('cards', 3, 'bar', 'layout', 'width')`` as ``card by_region, field layout.width``."""
    parts, owner = list(loc), ""
    if parts[:1] in (["cards"], ["parameters"]) and len(parts) > 1:
        entry = document[parts[0]][parts[1]]
        name = entry.get("id" if parts[0] == "cards" else "name") if isinstance(entry, dict) else None
        owner = f"{parts[0][:-1]} {name or f'number {parts[1] + 1}'}"
        parts = [p for p in parts[2:] if p not in KINDS]
    field = ".".join(str(p) for p in parts)
    return ", ".join(filter(None, (owner, f"field {field}" if field else "")))
