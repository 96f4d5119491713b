"""The kinds of card that a dashboard may have, and what each one's SQL must return. None knows how it is drawn."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dashboards.card_sql import Statement, Text

GRID_COLUMNS = 24
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
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


class FrozenModel(BaseModel):
    """A part of a dashboard's file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(FrozenModel):
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


class _Card(FrozenModel):
    """What every card has.

    Attributes:
        reads: topics, of those whose contracts state a freshness: the oldest of them is the card's age.
        caution_sql: returns a row with ``said``, a caution about the numbers, or no row. For all kinds
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


class Series(FrozenModel):
    """One column of numbers in a chart. ``tone`` picks its colour, ``style`` how a line is drawn."""

    column: Name
    title: Text
    style: Literal["area", "line", "dashed"] = "line"
    tone: Literal["accent", "quiet", "loss", "second", "third"] = "accent"


class LineCard(_Card):
    """Rows by time: column ``x`` (timestamptz or date, oldest first) and the columns of ``series``; null leaves a gap.

    ``zero`` False: the axis begins where the numbers do, for changes that are relatively small (prices).
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
        size: column with a number of the whole row, shown next to its name under ``size_title``.
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


class MapCard(_Card):
    """A dot a row: columns ``latitude`` and ``longitude`` (degrees), ``label`` and ``note`` (text), ``at`` (time).

    No map lies beneath: that would be another host's. The axes are degrees, and a kilometre is as long on both.
    """

    kind: Literal["map"]


class TableColumn(FrozenModel):
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
    NumberCard
    | LineCard
    | ColumnCard
    | BarCard
    | HeatmapCard
    | FunnelCard
    | TreemapCard
    | MapCard
    | TableCard
    | FreshnessCard,
    Field(discriminator="kind"),
]
KINDS = ("number", "line", "column", "bar", "heatmap", "funnel", "treemap", "map", "table", "freshness")
