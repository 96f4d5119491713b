"""Charts from rows, with Altair. The shape of a chart never depends on the numbers, so that new numbers move it in
place instead of redrawing it, which would flicker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import altair as alt
import pyarrow as pa

from dashboards.cards import BarCard, ColumnCard, LineCard, NumberFormat, Series
from dashboards.format import change, change_shown, exact, moment, shown, symbol
from dashboards.query import Row
from dashboards.theme import PALETTES, Mode, Palette, chart_config
from schemas.currency import decimals_shown

TIME_LABELS = (
    "utchours(datum.value) || utcminutes(datum.value) ? utcFormat(datum.value, '%H:%M')"
    " : utcdate(datum.value) == 1 && utcmonth(datum.value) == 0 ? utcFormat(datum.value, '%Y')"
    " : utcFormat(datum.value, '%-d %b')"
)


Chart = alt.LayerChart | alt.FacetChart
BAR_PIXELS = 40
PADDING = {"left": 0, "right": 4, "top": 6, "bottom": 5}
FEW_TIMES = 2  # a line between so few is a slope over the whole card, of which nothing is known
FEW_PIXELS = 64  # the room of a bar and the number above it
PLACE_TITLES = {"label": "Name", "note": "About", "when": "At"}
SMALLEST_DEGREES = 0.005  # half a kilometre: of one place, the neighbourhood
SHORTEST_DEGREE = 0.05  # of longitude, as a share of one of latitude: near the poles
MARGIN = 1.08
# Without it names keep the order in which they were first seen, whatever numbers move them later.
AS_THEY_COME = alt.EncodingSortField(field="place", op="min", order="ascending")


def has_numbers(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """True if any of the columns has a number other than zero: an empty chart shows a text instead of zeros."""
    return any(row.get(column) for row in rows for column in columns)


def has_any(rows: Sequence[Row], column: str) -> bool:
    """True if the column has a number, including zero."""
    return any(row.get(column) is not None for row in rows)


def line(card: LineCard, rows: Sequence[Row], currency: str, mode: Mode, height: int) -> Chart:
    """Lines over time with a rule that follows the pointer and names every series' value. Of few times, as ``few``."""
    # Vega finds no extent for a series without any number, and warns on the console.
    lines = [series for series in card.series if has_any(rows, series.column)]
    if len(rows) <= FEW_TIMES:
        return few(card, lines, rows, currency, mode, height)
    frame = _frame(lines, rows, card.format, currency)
    frame |= {f"{s.column}_alone": _alone([row[s.column] for row in rows]) for s in lines}
    times = [_at(row[card.x]) for row in rows]
    extent = (times[-1] - times[0]).total_seconds()
    frame["at"] = pa.array([_naive(at) for at in times], pa.timestamp("ms"))
    frame["when"] = [moment(at, extent) for at in times]
    by_day = not isinstance(rows[0][card.x], datetime)
    ticks = min(8, max(1, len(rows) - 1)) if by_day else 8  # no hours on an axis of a few days
    x = alt.X("at:T", scale=alt.Scale(type="utc"), axis=alt.Axis(labelExpr=TIME_LABELS, tickCount=ticks))
    base = alt.Chart(pa.table(frame)).encode(x=x)
    layers = [mark for series in lines for mark in _line_marks(base, series, card, currency, mode)]
    hover = alt.selection_point(fields=["at"], nearest=True, on="pointerover", empty=False, clear="pointerout")
    tooltip = [alt.Tooltip("when:N", title="From")]
    tooltip += [alt.Tooltip(f"{s.column}_text:N", title=s.title) for s in reversed(lines)]
    rule = (
        base.mark_rule(color=PALETTES[mode].faint, strokeWidth=1)
        .encode(opacity=alt.condition(hover, alt.value(0.8), alt.value(0)), tooltip=tooltip)
        .add_params(hover)
    )
    return _finished(alt.layer(*layers, rule), mode, height)


def few(card: LineCard, lines: Sequence[Series], rows: Sequence[Row], currency: str, mode: Mode, height: int) -> Chart:
    """One or two times: each series' bar with its number, side by side; a dot where the axis does not begin at zero."""
    times = [_at(row[card.x]) for row in rows]
    by_day = not isinstance(rows[0][card.x], datetime)
    frame = _frame(lines, rows, card.format, currency) | {"place": list(range(len(rows)))}
    frame["label"] = [f"{at:%-d %b}" if by_day else moment(at, 0) for at in times]
    number = shown if card.zero else exact  # prices differ in their cents
    for s in lines:
        frame[f"{s.column}_shown"] = [number(row[s.column], card.format, currency) for row in rows]
    x = alt.X("label:N", sort=AS_THEY_COME, axis=alt.Axis(labelAngle=0, labelFlush=False), scale=alt.Scale(type="band"))
    tooltip = [alt.Tooltip("label:N", title="From")]
    tooltip += [alt.Tooltip(f"{s.column}_text:N", title=s.title) for s in reversed(lines)]
    base = alt.Chart(pa.table(frame)).encode(x=x, tooltip=tooltip)
    ranked = list(enumerate(reversed(lines)))  # as the legend names them
    layers = [mark for place, s in ranked for mark in _few_marks(base, s, place, len(lines), card, currency, mode)]
    return _finished(alt.layer(*layers), mode, height)


def _few_marks(
    base: alt.Chart, series: Series, place: int, count: int, card: LineCard, currency: str, mode: Mode
) -> list[alt.Chart]:
    colour, y = _colour(series, PALETTES[mode]), _y(series.column, card.format, currency, zero=card.zero)
    aside = alt.ExprRef(f"{place - (count - 1) / 2} * min({FEW_PIXELS}, bandwidth('x') / {count})")
    number = base.mark_text(
        xOffset=aside,
        dy=alt.ExprRef(f"datum.{series.column} < 0 ? 12 : -12"),
        fontSize=12,
        fontWeight=600,
        color=PALETTES[mode].text,
        aria=False,
    ).encode(y=y, text=f"{series.column}_shown:N")
    if not card.zero:
        return [base.mark_circle(color=colour, size=90, opacity=1, xOffset=aside).encode(y=y), number]
    slim = alt.ExprRef(f"min(bandwidth('x') / {count} - 8, 44)")
    bar_ = base.mark_bar(color=colour, cornerRadiusEnd=3, width=slim, xOffset=aside).encode(y=y)
    return [bar_, number]


def column(card: ColumnCard, rows: Sequence[Row], currency: str, mode: Mode, height: int) -> Chart:
    """Upright bars, the first series at the baseline and each on the one before it; negative numbers hang below."""
    frame = _frame(card.series, rows, card.format, currency) | _stacked(card.series, rows)
    frame |= {"label": [str(row[card.x]) for row in rows], "place": list(range(len(rows)))}
    x = alt.X(
        "label:N", sort=AS_THEY_COME, axis=alt.Axis(labelAngle=0), scale=alt.Scale(paddingInner=0.35, paddingOuter=0.15)
    )
    tooltip = [alt.Tooltip("label:N", title=card.title)]
    tooltip += [alt.Tooltip(f"{s.column}_text:N", title=s.title) for s in card.series]
    base = alt.Chart(pa.table(frame)).encode(x=x, tooltip=tooltip)
    slim = alt.ExprRef("min(bandwidth('x'), 44)")
    layers = [
        base.mark_bar(color=_colour(s, PALETTES[mode]), cornerRadiusEnd=3, width=slim).encode(
            y=_y(f"{s.column}_end", card.format, currency), y2=f"{s.column}_begin:Q"
        )
        for s in card.series
    ]
    return _finished(alt.layer(*layers), mode, height)


def bar(card: BarCard, rows: Sequence[Row], currency: str, mode: Mode) -> Chart:
    """Ranked bars with the name and the number above each, so that long names fit a phone."""
    colours = PALETTES[mode]
    changes = [change(row[card.value], row.get("previous")) for row in rows]
    frame = {
        "label": [str(row[card.label]) for row in rows],
        "place": list(range(len(rows))),
        "value": [float(row[card.value]) for row in rows],
        "value_text": [shown(row[card.value], card.format, currency) for row in rows],
        "exact_text": [exact(row[card.value], card.format, currency) for row in rows],
        "change_text": ["" if c is None else change_shown(c) for c in changes],
        "rising": [c is not None and c > 0 for c in changes],
    }
    tooltip = [
        alt.Tooltip("label:N", title=card.title),
        alt.Tooltip("exact_text:N", title="Value"),
        alt.Tooltip("change_text:N", title="Change"),
    ]
    y = alt.Y("label:N", sort=AS_THEY_COME, axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    base = alt.Chart(pa.table(frame)).encode(y=y, tooltip=tooltip)
    bars = base.mark_bar(color=colours.accent, height=7, yOffset=9, cornerRadius=3.5).encode(
        x=alt.X("value:Q", axis=None, scale=alt.Scale(zero=True, nice=False))
    )
    name = base.mark_text(align="left", yOffset=-7, fontSize=13.5, color=colours.text).encode(
        x=alt.value(0), text="label:N"
    )
    number = base.mark_text(
        align="right",
        yOffset=-7,
        dx=alt.ExprRef("datum.change_text ? -58 : 0"),
        fontSize=13.5,
        fontWeight=600,
        color=colours.text,
    ).encode(x=alt.value(alt.expr("width")), text="value_text:N")
    moved = base.mark_text(align="right", yOffset=-7, fontSize=12, fontWeight=600).encode(
        x=alt.value(alt.expr("width")),
        text="change_text:N",
        color=alt.condition("datum.rising", alt.value(colours.gain), alt.value(colours.loss)),
    )
    # In pixels: a chart whose height follows from a step can't fit its card, and Vega warns of it.
    height = BAR_PIXELS * len(rows) + PADDING["top"] + PADDING["bottom"]
    return _finished(alt.layer(bars, name, number, moved), mode, height)


def places(rows: Sequence[Row], mode: Mode, height: int) -> Chart:
    """A dot a place. The axes are degrees; a kilometre is as long upwards as sidewards, however wide the card is."""
    latitudes, longitudes = ([float(row[name]) for row in rows] for name in ("latitude", "longitude"))
    frame = {
        "latitude": latitudes,
        "longitude": longitudes,
        "label": [str(row["label"]) for row in rows],
        "note": [str(row["note"] or "") for row in rows],
        "when": [moment(row["at"], 0) for row in rows],
    }
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in PLACE_TITLES.items()]
    degrees = alt.Axis(labelExpr="format(datum.value, '.2~f') + '°'", grid=True, tickCount=6)
    across, up = (
        alt.Scale(domainMin=alt.ExprRef(begin), domainMax=alt.ExprRef(end), nice=False, zero=False)
        for begin, end in extents(latitudes, longitudes)
    )
    dots = (
        alt.Chart(pa.table(frame))
        .mark_circle(color=PALETTES[mode].accent, size=55, opacity=0.75)
        .encode(
            x=alt.X("longitude:Q", axis=degrees, scale=across),
            y=alt.Y("latitude:Q", axis=degrees, scale=up),
            tooltip=tooltip,
        )
    )
    return _finished(alt.layer(dots), mode, height)


def extents(latitudes: Sequence[float], longitudes: Sequence[float]) -> tuple[tuple[str, str], tuple[str, str]]:
    """From and to, of longitude and of latitude, with all places in them and a margin.

    They are expressions of Vega's, of the chart's ``width`` and ``height`` in pixels, which only the browser knows.
    """
    west, east, south, north = min(longitudes), max(longitudes), min(latitudes), max(latitudes)
    # A degree of longitude gets shorter towards the poles.
    shrunk = max(math.cos(math.radians((south + north) / 2)), SHORTEST_DEGREE)
    high, wide = max(north - south, SMALLEST_DEGREES) * MARGIN, max((east - west) * shrunk, SMALLEST_DEGREES) * MARGIN
    degrees_a_pixel = f"max({high!r} / height, {wide!r} / width)"
    x, y = (west + east) / 2, (south + north) / 2
    to_the_side, up = f"{degrees_a_pixel} * width / {2 * shrunk!r}", f"{degrees_a_pixel} * height / 2"
    return (f"{x!r} - {to_the_side}", f"{x!r} + {to_the_side}"), (f"{y!r} - {up}", f"{y!r} + {up}")


def _line_marks(base: alt.Chart, series: Series, card: LineCard, currency: str, mode: Mode) -> list[alt.Chart]:
    colour, y = _colour(series, PALETTES[mode]), _y(series.column, card.format, currency, zero=card.zero)
    dash = {"strokeDash": [4, 4], "strokeWidth": 1.5} if series.style == "dashed" else {"strokeWidth": 2.25}
    marks = [base.mark_line(color=colour, interpolate="monotone", **dash).encode(y=y)]
    # A price that was seen on one day alone is no line.
    lonely = alt.condition(f"datum.{series.column}_alone", alt.value(1), alt.value(0))
    marks.append(base.mark_circle(color=colour, size=40, aria=False).encode(y=y, opacity=lonely))
    if series.style == "area":
        # One colour: a gradient has a name that all charts of a page share, and is gone with the chart that made it.
        marks.insert(0, base.mark_area(color=colour, opacity=0.14, interpolate="monotone").encode(y=y))
    return marks


def _frame(series: Sequence[Series], rows: Sequence[Row], kind: NumberFormat, currency: str) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for s in series:
        values = [row[s.column] for row in rows]
        columns[s.column] = pa.array([None if v is None else float(v) for v in values], pa.float64())
        columns[f"{s.column}_text"] = [exact(v, kind, currency) for v in values]
    return columns


def _alone(values: Sequence[Any]) -> list[bool]:
    """Which have no number before and none after them: no line goes there."""
    around = [None, *values, None]
    return [values[n] is not None and around[n] is None and around[n + 2] is None for n in range(len(values))]


def _stacked(series: Sequence[Series], rows: Sequence[Row]) -> dict[str, list[float]]:
    """By series, where its bars begin and end: numbers above zero stand on those above zero, the others hang below."""
    ends = {sign: [0.0] * len(rows) for sign in (False, True)}
    columns: dict[str, list[float]] = {}
    for s in series:
        values = [float(row[s.column] or 0) for row in rows]
        columns[f"{s.column}_begin"] = [ends[value < 0][place] for place, value in enumerate(values)]
        for place, value in enumerate(values):
            ends[value < 0][place] += value
        columns[f"{s.column}_end"] = [ends[value < 0][place] for place, value in enumerate(values)]
    return columns


def _y(name: str, kind: NumberFormat, currency: str, *, zero: bool = True) -> alt.Y:
    sign = symbol(currency) if kind.startswith("currency") else ""
    digits = decimals_shown(currency) if sign else 2
    number = "replace(format(abs(datum.value), '~s'), 'G', 'B')" if zero else f"format(abs(datum.value), ',.{digits}f')"
    text = f"(datum.value < 0 ? '\N{MINUS SIGN}' : '') + '{sign}' + {number}"
    if kind == "percent":
        text = "format(datum.value, '~%')"
    return alt.Y(f"{name}:Q", stack=None, axis=alt.Axis(labelExpr=text), scale=alt.Scale(nice=True, zero=zero))


def _colour(series: Series, colours: Palette) -> str:
    return str(getattr(colours, series.tone))


def _at(day_or_time: date) -> datetime:
    """The beginning of a day; a time as it is."""
    if isinstance(day_or_time, datetime):
        return day_or_time
    return datetime.combine(day_or_time, time(), UTC)


def _naive(at: datetime) -> datetime:
    # Arrow hands a zoned time over as it is, a plain one as UTC: the charts' scale is UTC.
    return at.replace(tzinfo=None)


def _finished(chart: Chart, mode: Mode, height: int) -> Chart:
    finished: Chart = chart.properties(height=height, padding=PADDING).configure(**chart_config(mode))
    return finished
