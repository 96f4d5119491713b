"""What a card looks like in Metabase: its ``display`` and ``visualization_settings``. Pure.

The keys are those of Metabase's own reference (the skill ``visualization`` of its command line). Settings name output
columns of the SQL. What has no counterpart there is left out: docs/metabase.md lists it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from dashboards.cards import (
    BarCard,
    Card,
    ColumnCard,
    FreshnessCard,
    FunnelCard,
    HeatmapCard,
    LineCard,
    MapCard,
    NumberCard,
    NumberFormat,
    Series,
    TableCard,
    TableColumn,
    Tone,
    TreemapCard,
)
from dashboards.theme import LIGHT
from schemas.currency import decimals_shown

SERIES_COLOURS = {
    "accent": LIGHT.accent,
    "quiet": LIGHT.quiet,
    "loss": LIGHT.loss,
    "second": LIGHT.second,
    "third": LIGHT.third,
}
TONES: Mapping[Tone, str] = {
    "gain": LIGHT.gain,
    "loss": LIGHT.loss,
    "warn": LIGHT.warn,
    "accent": LIGHT.accent,
    "quiet": LIGHT.quiet,
}
FRESHNESS_COLUMNS: tuple[tuple[str, str, NumberFormat], ...] = (
    ("title", "Source", "text"),
    ("last_event_at", "Latest event, UTC", "time"),
    ("events", "Events today", "integer"),
)
PREVIOUS = re.compile(r"\bas previous\b", re.IGNORECASE)
"""What a number's SQL says when it has something to compare with."""

FRESHNESS_HIDDEN = ("source", "fresh_seconds", "stale_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """``wrap`` is SQL around the card's own, where Metabase needs other columns; ``{sql}`` is its place."""

    display: str
    settings: dict[str, Any]
    wrap: str = "{sql}"


def look(card: Card, currency: str) -> Look:
    """The look of a card, with money in ``currency``, an ISO 4217 code."""
    match card:
        case NumberCard():
            return _number(card, currency)
        case LineCard():
            return Look(display="line", settings=_line(card, currency))
        case ColumnCard():
            return Look(display="bar", settings=_column(card, currency))
        case BarCard() | TreemapCard():
            return Look(display="row", settings=_bars(card, currency))
        case FunnelCard():
            settings = {"funnel.dimension": card.step, "funnel.metric": card.value}
            return Look(display="funnel", settings=settings | _formats({card.value: (card.format, None)}, currency))
        case HeatmapCard():
            return _heatmap(card, currency)
        case MapCard():  # not its map: the tiles of that are another host's
            return Look(display="scatter", settings=_places())
        case TableCard():
            return Look(display="table", settings=_table(card, currency))
        case FreshnessCard():
            return Look(display="table", settings=_freshness(currency))
    assert_never(card)


def column_key(column: str) -> str:
    """The key of an output column in ``column_settings``, a JSON text as Metabase writes it."""
    return json.dumps(["name", column], separators=(",", ":"))


def number_format(kind: NumberFormat, currency: str) -> dict[str, Any]:
    """Settings of a column that make Metabase write it as the page does, as near as it can."""
    match kind:
        case "text" | "hash":
            return {}
        case "integer":
            return {"number_style": "decimal", "decimals": 0}
        case "decimal_1":
            return {"number_style": "decimal", "decimals": 1}
        case "decimal":
            return {"number_style": "decimal", "decimals": 2}
        case "percent" | "percent_0":
            return {"number_style": "percent", "decimals": 1 if kind == "percent" else 0}
        case "currency" | "currency_exact":
            digits = decimals_shown(currency) if kind == "currency_exact" else 0
            shown = {"currency": currency, "currency_style": "symbol", "currency_in_header": False}
            return {"number_style": "currency", "decimals": digits, **shown}
        case "ago" | "duration":
            return {"number_style": "decimal", "decimals": 1 if kind == "duration" else 0, "suffix": " s"}
        case "date":
            return {"date_style": "D MMMM, YYYY", "date_abbreviate": True, "time_enabled": None}
        case "time":
            shown = {"date_style": "D MMMM, YYYY", "date_abbreviate": True}
            return {**shown, "time_enabled": "minutes", "time_style": "HH:mm"}
    assert_never(kind)


def _formats(columns: Mapping[str, tuple[NumberFormat, str | None]], currency: str) -> dict[str, Any]:
    """``column_settings`` of columns by their format and title."""
    found = {
        column_key(name): number_format(kind, currency) | ({"column_title": title} if title else {})
        for name, (kind, title) in columns.items()
    }
    return {"column_settings": {key: settings for key, settings in found.items() if settings}}


def _number(card: NumberCard, currency: str) -> Look:
    formats = _formats({"value": (card.format, None)}, currency)
    if not (card.compare and PREVIOUS.search(card.sql)):
        return Look(display="scalar", settings={"scalar.field": "value", **formats})
    # Its trend wants a column of time, of which it takes the newest row: ours is one row, as of now.
    comparison = {"id": "previous", "type": "anotherColumn", "column": "previous", "label": _compared_with(card)}
    settings = {
        "scalar.field": "value",
        "scalar.comparisons": [comparison],
        "scalar.switch_positive_negative": card.better == "lower",
        **formats,
    }
    wrap = "select\n    now() as at,\n    number.value,\n    number.previous\nfrom (\n{sql}\n) as number"
    return Look(display="smartscalar", settings=settings, wrap=wrap)


def _compared_with(card: NumberCard) -> str:
    """Metabase writes ``vs.`` itself."""
    return card.compare.removeprefix("vs. ").strip()


def _series(series: Iterable[Series], *, lines: bool) -> dict[str, Any]:
    def style(one: Series) -> dict[str, Any]:
        shown: dict[str, Any] = {"title": one.title, "color": SERIES_COLOURS[one.tone]}
        if lines:
            shown["display"] = "area" if one.style == "area" else "line"
            shown["line.style"] = "dashed" if one.style == "dashed" else "solid"
            shown["line.marker_enabled"] = False
            shown["line.missing"] = "none"
        return shown

    return {"series_settings": {one.column: style(one) for one in series}}


def _chart(x: str, columns: list[str], kind: NumberFormat, currency: str, *, scale: str) -> dict[str, Any]:
    return {
        "graph.dimensions": [x],
        "graph.metrics": columns,
        "graph.x_axis.scale": scale,
        "graph.x_axis.labels_enabled": False,
        "graph.y_axis.labels_enabled": False,
        **_formats(dict.fromkeys(columns, (kind, None)), currency),
    }


def _line(card: LineCard, currency: str) -> dict[str, Any]:
    columns = [one.column for one in card.series]
    chart = _chart(card.x, columns, card.format, currency, scale="timeseries")
    return {**chart, **_series(card.series, lines=True), "stackable.stack_type": None}


def _column(card: ColumnCard, currency: str) -> dict[str, Any]:
    columns = [one.column for one in card.series]
    chart = _chart(card.x, columns, card.format, currency, scale="ordinal")
    return {**chart, **_series(card.series, lines=False), "stackable.stack_type": "stacked"}


def _bars(card: BarCard | TreemapCard, currency: str) -> dict[str, Any]:
    chart = _chart(card.label, [card.value], card.format, currency, scale="ordinal")
    return {**chart, "series_settings": {card.value: {"title": card.title, "color": LIGHT.accent}}}


def _heatmap(card: HeatmapCard, currency: str) -> Look:
    most = {"max_type": "custom", "max_value": card.most} if card.most else {"max_type": "all"}
    settings: dict[str, Any] = {
        "table.pivot": True,
        "table.pivot_column": "column",
        "table.cell_column": "value",
        "table.column_formatting": [
            {
                # Every cell of the pivot goes by the name of the column that its value comes from.
                "columns": ["value"],
                "type": "range",
                "colors": [LIGHT.card, LIGHT.accent],
                "min_type": "custom",
                "min_value": 0,
                **most,
            }
        ],
        **_formats({"row": ("text", card.row_title or None), "value": (card.format, None)}, currency),
    }
    # It pivots three columns only, and keeps rows and columns in the order in which they come.
    wrap = (
        f'select\n    heat."{card.row}" as "row",\n    heat."{card.column}" as "column",\n'
        f'    heat."{card.value}" as value\nfrom (\n{{sql}}\n) as heat'
    )
    return Look(display="table", settings=settings, wrap=wrap)


def _places() -> dict[str, Any]:
    return {
        "graph.dimensions": ["longitude"],
        "graph.metrics": ["latitude"],
        "graph.x_axis.scale": "linear",
        "graph.y_axis.auto_range": True,
    }


def _table(card: TableCard, currency: str) -> dict[str, Any]:
    shown = {name: form for column in card.columns for name, form in _shown(column).items()}
    hidden = [name for column in card.columns for name in (column.hint, column.key) if name and name not in shown]
    settings = {
        "table.pivot": False,
        "table.row_index": card.ranked,
        "table.columns": [
            *({"name": name, "enabled": True} for name in shown),
            *({"name": name, "enabled": False} for name in dict.fromkeys(hidden)),
        ],
        **_formats(shown, currency),
    }
    for column in card.columns:
        if column.bar:
            settings["column_settings"].setdefault(column_key(column.column), {})["show_mini_bar"] = True
    badges = [rule for column in card.columns for rule in _badges(column)]
    return settings | ({"table.column_formatting": badges} if badges else {})


def _shown(column: TableColumn) -> dict[str, tuple[NumberFormat, str | None]]:
    """The column, and the one beneath it: Metabase has no second line in a cell, so it is a column of its own."""
    shown: dict[str, tuple[NumberFormat, str | None]] = {column.column: (column.format, column.title)}
    if column.under:
        shown[column.under] = ("text", column.under.replace("_", " ").capitalize())
    return shown


def _badges(column: TableColumn) -> list[dict[str, Any]]:
    return [
        {
            "columns": [column.column],
            "type": "single",
            "operator": "=",
            "value": value,
            "color": TONES[tone],
            "highlight_row": False,
        }
        for value, tone in column.tones.items()
    ]


def _freshness(currency: str) -> dict[str, Any]:
    return {
        "table.pivot": False,
        "table.columns": [
            *({"name": name, "enabled": True} for name, _, _ in FRESHNESS_COLUMNS),
            *({"name": name, "enabled": False} for name in FRESHNESS_HIDDEN),
        ],
        **_formats({name: (kind, title) for name, title, kind in FRESHNESS_COLUMNS}, currency),
    }
