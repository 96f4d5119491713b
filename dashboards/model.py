"""What a dashboard is: the YAML files beside this module, read into frozen models.

The page draws them, and other tools (Metabase) can be fed from them, so nothing here knows how a card is drawn:

- SQL is plain Postgres, one read-only statement. ``{{name}}`` stands for a parameter's value, ``{{snippet: name}}``
  for text from ``snippets``, and ``[[and region = {{region}}]]`` is left out while a parameter in it has no value: all
  three as Metabase writes them.
- What a card reads is what its SQL names: ``live.…``, ``events.…``, ``marts.…``, ``ops.…``.
- Cards lie on Metabase's grid: 24 columns, rows of one unit, by the place of their upper left corner.
- What each kind's SQL must return is said at its class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.catalogue import events
from schemas.errors import Misconfigured, advice

GRID_COLUMNS = 24
PLACEHOLDER = re.compile(r"\{\{\s*(?P<snippet>snippet:)?\s*(?P<name>[A-Za-z_][A-Za-z0-9_ ]*?)\s*\}\}")
OPTIONAL = re.compile(r"\[\[(?P<clause>.*?)\]\]", re.DOTALL)
SYSTEM_SCHEMAS = ("information_schema", "pg_catalog")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
NumberFormat = Literal[
    "integer",
    "decimal_1",
    "decimal",
    "currency",
    "currency_exact",
    "percent",
    "percent_0",
    "text",
    "ago",
    "duration",
    "date",
    "time",
    "hash",
]
Tone = Literal["gain", "loss", "warn", "accent", "quiet"]
AreaTone = Literal["accent", "second", "third", "gain", "loss", "quiet"]


def _one_statement(sql: str) -> str:
    text = sql.strip()
    if not re.match(r"(with|select)\b", text, re.IGNORECASE):
        raise ValueError("is not a query: it must start with 'with' or 'select'")
    if ";" in text:
        raise ValueError("has a semicolon: give one statement, without one at its end")
    return _closed(text)


def _closed(sql: str) -> str:
    """``sql``, whose optional clauses are closed, hold no other and name a parameter each. Raises ValueError."""
    for found in OPTIONAL.finditer(sql):
        if "[[" in found["clause"]:
            raise ValueError(f"has an optional clause inside another: [[{found['clause']}]]; put them side by side")
        if not any(not m["snippet"] for m in PLACEHOLDER.finditer(found["clause"])):
            raise ValueError(f"has an optional clause without a parameter: {found[0]}; remove its brackets")
    if "[[" in OPTIONAL.sub("", sql):
        raise ValueError("has a [[ that no ]] closes; add it")
    return sql


Statement = Annotated[Text, AfterValidator(_one_statement)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(_Model):
    """Place on the grid, upper left corner first."""

    row: int = Field(ge=0)
    col: int = Field(ge=0, lt=GRID_COLUMNS)
    width: int = Field(ge=1, le=GRID_COLUMNS)
    height: int = Field(ge=1, le=24)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.col + self.width > GRID_COLUMNS:
            raise ValueError(
                f"col {self.col} and width {self.width} end at {self.col + self.width}, and the grid has "
                f"{GRID_COLUMNS} columns; make one of them smaller"
            )
        return self

    def overlaps(self, other: Layout) -> bool:
        """True when the two share a cell of the grid."""
        return (
            self.col < other.col + other.width
            and other.col < self.col + self.width
            and self.row < other.row + other.height
            and other.row < self.row + self.height
        )


class Choice(_Model):
    """One value that a parameter can have, and what people read."""

    title: Text
    value: Text


class Parameter(_Model):
    """A value that the reader picks from a list; SQL says ``{{name}}``.

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


def chosen(sql: str, values: Mapping[str, str]) -> str:
    """``sql`` without the optional clauses in which a parameter has no value, and the others without their brackets."""

    def kept(found: re.Match[str]) -> str:
        names = [m["name"] for m in PLACEHOLDER.finditer(found["clause"]) if not m["snippet"]]
        return found["clause"] if all(values.get(name) for name in names) else ""

    return OPTIONAL.sub(kept, sql)


@lru_cache(maxsize=1024)
def relations(sql: str) -> tuple[str, ...]:
    """The tables and views that a statement reads, sorted: ``live.sessions``, ``marts.daily_sales``.

    Parameters stand in it as ``{{name}}``, optional clauses in double brackets. Postgres' own schemas are left out.
    Raises ValueError saying where it is no SQL of Postgres.
    """
    import sqlglot  # a tenth of a second to load, which only those who ask should pay
    from sqlglot.expressions import Table

    text = PLACEHOLDER.sub("null", OPTIONAL.sub(lambda clause: clause["clause"], sql))
    try:
        statements = sqlglot.parse(text, read="postgres")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0]
        where = f"line {first['line']}, near {first['highlight']!r}"
        raise ValueError(f"can't be read as SQL of Postgres, in {where}: {first['description']}") from error
    except sqlglot.errors.TokenError as error:
        raise ValueError(f"can't be read as SQL of Postgres: {error}") from error
    tables = [table for statement in statements if statement for table in statement.find_all(Table)]
    return tuple(sorted({f"{t.db}.{t.name}" for t in tables if t.db and t.db not in SYSTEM_SCHEMAS}))


class _Card(_Model):
    """What every card has.

    Attributes:
        reads: topics, of those whose contracts state a freshness: the oldest of them is the card's age.
        caution_sql: returns a row with ``said``, what to know before the numbers are believed, or no row. For all kinds
            but numbers.
    """

    id: Name
    title: Text
    sql: Statement
    layout: Layout
    description: str = ""
    reads: tuple[str, ...] = ()
    empty: Text = "No data in this range yet"
    refresh_seconds: float | None = Field(default=None, ge=0.5, le=3600)
    caution_sql: Statement | None = None

    @property
    def statements(self) -> dict[str, str]:
        """SQL by the name of the field it comes from."""
        return {"sql": self.sql} | ({"caution_sql": self.caution_sql} if self.caution_sql else {})


class NumberCard(_Card):
    """One row: ``value`` and, to compare with, ``previous`` (null or left out: no comparison).

    ``trend_sql`` returns ``at`` and ``value``, oldest first, for the small line below the number.
    """

    kind: Literal["number"]
    format: NumberFormat = "integer"
    compare: str = ""
    trend_sql: Statement | None = None
    trend: Literal["line", "bars"] = "line"
    better: Literal["higher", "lower", "neither"] = "higher"
    live: bool = False

    @field_validator("caution_sql")
    @classmethod
    def _no_caution(cls, sql: str | None) -> None:
        if sql is not None:
            raise ValueError(
                "a number card can't show a caution: put it in its description, or on another kind of card"
            )

    @property
    def statements(self) -> dict[str, str]:
        return super().statements | ({"trend_sql": self.trend_sql} if self.trend_sql else {})


class Series(_Model):
    """One column of numbers in a chart. ``tone`` picks its colour, ``style`` how a line is drawn."""

    column: Name
    title: Text
    style: Literal["area", "line", "dashed"] = "line"
    tone: Literal["accent", "quiet", "loss", "second", "third"] = "accent"


class LineCard(_Card):
    """Rows by time: column ``x`` (timestamptz or date, oldest first) and the columns of ``series``; null leaves a gap.

    ``zero`` False: the axis begins where the numbers do, for those whose changes are small beside them (prices).
    """

    kind: Literal["line"]
    zero: bool = True
    x: Name = "at"
    series: tuple[Series, ...] = Field(min_length=1, max_length=5)
    format: NumberFormat = "integer"


class ColumnCard(_Card):
    """Upright bars, stacked: column ``x`` (text, in order) and the columns of ``series``."""

    kind: Literal["column"]
    x: Name = "label"
    series: tuple[Series, ...] = Field(min_length=1, max_length=5)
    format: NumberFormat = "integer"


class BarCard(_Card):
    """Ranked bars: column ``label`` (text), ``value`` (number), largest first; ``previous`` to compare with, if any."""

    kind: Literal["bar"]
    label: Name = "label"
    value: Name = "value"
    format: NumberFormat = "integer"


class HeatmapCard(_Card):
    """A row a cell: ``row`` and ``column`` (text, each in the order they first come), and ``value``, which colours it.

    Cells without a row stay empty.

    Attributes:
        size: column with a number of the whole row, shown beside its name under ``size_title``.
        hint: column with the cell's tooltip; without one it is the value in full.
        most: value that has the full colour; without one it is the largest that occurs.
    """

    kind: Literal["heatmap"]
    row: Name = "row"
    column: Name = "column"
    value: Name = "value"
    row_title: str = ""
    column_title: str = ""
    size: Name | None = None
    size_title: str = ""
    hint: Name | None = None
    most: float | None = Field(default=None, gt=0)
    format: NumberFormat = "integer"


class FunnelCard(_Card):
    """Steps in their order, of which none is larger than the one before: columns ``step`` (text) and ``value``."""

    kind: Literal["funnel"]
    step: Name = "step"
    value: Name = "value"
    format: NumberFormat = "integer"


class TreemapCard(_Card):
    """Parts of a whole as areas: columns ``label`` (text) and ``value`` (number, its area), largest first.

    Attributes:
        note: column with a text below the name.
        tones: colours by label.
    """

    kind: Literal["treemap"]
    label: Name = "label"
    value: Name = "value"
    note: Name | None = None
    format: NumberFormat = "integer"
    tones: dict[str, AreaTone] = {}


class TableColumn(_Model):
    """One column of a table.

    Attributes:
        bar: draws the number's share of the largest behind it.
        phone: whether there is room for it on a phone.
        tones: values that are shown as a badge, and its colour.
        under: column with a text that stands small beneath the value.
        hint: column with the tooltip; without one it is the value in full.
        sets: parameter that a click on the value sets to it.
        opens: dashboard on which it is set, by its file's name; without one it is this dashboard.
        key: column with the value that is set; without one it is the value that is shown.
    """

    column: Name
    title: str
    format: NumberFormat = "text"
    bar: bool = False
    phone: bool = True
    tones: dict[str, Tone] = {}
    under: Name | None = None
    hint: Name | None = None
    sets: Name | None = None
    opens: Name | None = None
    key: Name | None = None

    @model_validator(mode="after")
    def _led_somewhere(self) -> Self:
        if (self.opens or self.key) and not self.sets:
            raise ValueError("'opens' and 'key' say where 'sets' leads; add 'sets' or remove them")
        return self


class TableCard(_Card):
    """Rows as they come, with their rank before them when ``ranked``; ``columns`` are shown in order.

    With ``first``, a page without room for all of them shows so many; all are in what it exports.
    """

    kind: Literal["table"]
    columns: tuple[TableColumn, ...] = Field(min_length=1)
    ranked: bool = True
    first: int | None = Field(default=None, ge=1)


class FreshnessCard(_Card):
    """A row a source: ``source``, ``title``, ``last_event_at``, ``events``, ``fresh_seconds``, ``stale_seconds``."""

    kind: Literal["freshness"]


Card = Annotated[
    NumberCard | LineCard | ColumnCard | BarCard | HeatmapCard | FunnelCard | TreemapCard | TableCard | FreshnessCard,
    Field(discriminator="kind"),
]
KINDS = ("number", "line", "column", "bar", "heatmap", "funnel", "treemap", "table", "freshness")


class Dashboard(_Model):
    """One dashboard. Its money is in the shop's currency, which whoever draws it is told.

    ``place`` orders the dashboards where they are listed, least first.
    """

    title: Text
    place: int = 100
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
        """The tables and views that a card reads, sorted, whatever its parameters."""
        return tuple(sorted({name for sql in card.statements.values() for name in relations(self.expanded(sql))}))


def load(path: Path) -> Dashboard:
    """The dashboard in ``path``. Raises Misconfigured naming file, card, field and what to do, a line a problem."""
    try:
        # The loader in C takes a tenth of the time, which whoever opens the page waits for.
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
