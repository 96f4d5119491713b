"""Tiles, tables and notices as HTML. Pure; everything from the data is escaped.

A sparkline is a CSS mask over a coloured box, since the page's sanitizer takes no SVG elements; so it follows the
colours of the page, light and dark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Literal
from urllib.parse import quote

from dashboards.cards import Card, ColumnCard, LineCard, NumberCard, TableCard, TableColumn
from dashboards.format import age_shown, change, change_shown, exact, shown
from dashboards.provenance import Age, Behind, Source, age_of, ago
from dashboards.query import Row
from schemas.plural import counted

Address = Callable[[str, str, str | None], str]  # parameter, value, dashboard (None: this one)
BREAKS = re.compile(r"_(?=\w)|\.(?=[a-z])|[^\s_]{12}(?=[^\s_]{12})")
BREAK = "\0"  # Postgres can't hold it in a text
CODE = re.compile(r"`([^`]+)`")
SHORT = 16  # letters that a cell keeps on one line
CURRENT = ' aria-current="page"'


def note(card: Card) -> str:
    """What a card means, below its name; empty when its name is enough."""
    return f'<span class="ih-note">{escape(card.description)}</span>' if card.description else ""


def head(card: Card, rows: Sequence[Row], age: Age | None, stuck: str = "", caution: str = "") -> str:
    """A card's title line: name, what it means, legend, and the dot that shows how fresh it is.

    ``stuck`` is why the numbers below are old, ``caution`` a warning about them. A series without a
    number is not in the legend.
    """
    legend = ""
    if isinstance(card, LineCard | ColumnCard):
        keys = "".join(
            f'<span class="ih-key ih-tone-{s.tone} ih-{s.style}">{escape(s.title)}</span>'
            for s in reversed(card.series)
            if any(row[s.column] is not None for row in rows)
        )
        legend = f'<span class="ih-legend">{keys}</span>'
    names = f'<div class="ih-names"><h2>{escape(card.title)}</h2>{note(card)}</div>'
    problem = f'<p class="ih-stuck">{_said(stuck)}</p>' if stuck else ""
    problem += f'<p class="ih-caution">{_said(caution)}</p>' if caution else ""
    return f'<div class="ih-head"><div class="ih-named">{names}{legend}</div>{_dot(age)}</div>{problem}'


def _dot(age: Age | None) -> str:
    if age is None:
        return ""
    text = "–" if age.seconds is None else age_shown(age.seconds)
    return f'<span class="ih-dot ih-{age.level}" title="{escape(age.title)}">{text}</span>'


def number(
    card: NumberCard, row: Row | None, trend: Sequence[Row], currency: str, age: Age | None, problem: str = ""
) -> str:
    """A tile: label, number, change, sparkline. ``row`` None or a null value: the problem, or the card's empty text."""
    value = row.get("value") if row else None
    label = f'<div class="ih-label" title="{escape(card.description)}">{escape(card.title)}{_dot(age)}</div>'
    live = " ih-live" if card.live else ""
    if value is None:
        why = f'<div class="ih-under"><span>{_said(problem or card.empty)}</span></div>'
        body = f'<div class="ih-number ih-none">–</div>{why}'
        return f'<div class="ih-tile{live}" data-card="{card.id}" data-value="">{label}{body}</div>'
    figure = (
        f'<div class="ih-number" title="{escape(exact(value, card.format, currency))}">'
        f"{escape(shown(value, card.format, currency))}</div>"
    )
    said = f'<span class="ih-stuck">{_said(problem)}</span>' if problem else ""
    under = f'<div class="ih-under">{said or _change(card, row or {})}</div>'
    drawn = spark([float(r["value"] or 0) for r in trend], card.trend) if card.trend_sql else f"<p>{note(card)}</p>"
    whole = escape(str(value))
    return f'<div class="ih-tile{live}" data-card="{card.id}" data-value="{whole}">{label}{figure}{under}{drawn}</div>'


def _change(card: NumberCard, row: Row) -> str:
    """The change since ``previous``; what the number is of, when its SQL has nothing to compare it with."""
    if "previous" not in row:
        return f"<span>{escape(card.compare)}</span>" if card.compare else ""
    share = change(row["value"], row["previous"])
    if share is None:
        return ""
    good = card.better == "neither" or share == 0 or (share > 0) == (card.better == "higher")
    arrow = "▲" if share > 0 else "▼" if share < 0 else "■"
    return (
        f'<span class="ih-change {"ih-gain" if good else "ih-loss"}">{arrow} {escape(change_shown(share))}</span>'
        f"<span>{escape(card.compare)}</span>"
    )


def spark(values: Sequence[float], kind: Literal["line", "bars"]) -> str:
    """A small picture of a series, oldest first, from zero (or its least, below zero) to its largest."""
    if len(values) < 2 or not any(values):
        return '<div class="ih-spark"></div>'
    low, high = min(0.0, *values), max(0.0, *values)
    heights = [(v - low) / (high - low) for v in values]
    kind = "bars" if len(values) == 2 else kind  # a line between two is a slope over the whole tile
    shapes = _bars(heights) if kind == "bars" else _line(heights)
    layers = "".join(f'<div class="{name}" style="{_mask(svg)}"></div>' for name, svg in shapes)
    return f'<div class="ih-spark ih-{kind}" aria-hidden="true">{layers}</div>'


def _line(heights: Sequence[float]) -> list[tuple[str, str]]:
    last = len(heights) - 1
    points = " ".join(f"{i * 200 / last:.1f},{38 - h * 35:.1f}" for i, h in enumerate(heights))
    stroke = 'fill="none" stroke="#000" stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke"'
    return [
        ("ih-fill", f'<polygon points="0,40 {points} 200,40"/>'),
        ("ih-stroke", f'<polyline points="{points}" {stroke}/>'),
    ]


def _bars(heights: Sequence[float]) -> list[tuple[str, str]]:
    step = 200 / len(heights)
    drawn = "".join(
        f'<rect x="{i * step:.2f}" y="{40 - max(h * 38, 1):.1f}" width="{step * 0.68:.2f}" height="40" rx=".8"/>'
        for i, h in enumerate(heights)
    )
    return [("ih-stroke", drawn)]


def _mask(shapes: str) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 40" preserveAspectRatio="none">{shapes}</svg>'
    url = f"url('data:image/svg+xml,{quote(svg)}')"
    return f"-webkit-mask-image:{url};mask-image:{url};-webkit-mask-size:100% 100%;mask-size:100% 100%"


def table(
    card: TableCard,
    rows: Sequence[Row],
    currency: str,
    address: Address = lambda _, __, ___: "",
    *,
    show_all: bool = False,
) -> str:
    """Rows with aligned numbers; a bar behind a number is its share of the column's largest.

    ``address`` is a dashboard's with a parameter set to a value, for columns that set one. Without ``show_all`` the
    table ends after the card's ``first`` rows.
    """
    rows = rows if show_all else rows[: card.first]
    kinds = {c.column: _cell(c, rows) for c in card.columns}
    names = [f'<th scope="col" class="{kinds[c.column]}">{escape(c.title)}</th>' for c in card.columns]
    largest = {c.column: max((float(r[c.column] or 0) for r in rows), default=0.0) for c in card.columns if c.bar}
    lines = []
    for place, row in enumerate(rows, 1):
        cells = [f'<td class="ih-place">{place}</td>'] if card.ranked else []
        for c in card.columns:
            text = _value(c, row, currency, address)
            if c.bar and largest[c.column] > 0:
                share = max(float(row[c.column] or 0), 0) / largest[c.column] * 100
                text = f'<div><span class="ih-share"><i style="width:{share:.1f}%"></i></span><b>{text}</b></div>'
            hint = escape(str(row[c.hint] or "") if c.hint else exact(row[c.column], c.format, currency))
            cells.append(f'<td class="{kinds[c.column]}" title="{hint}">{text}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    ranks = '<th scope="col" class="ih-place">#</th>' if card.ranked else ""
    head = f"<thead><tr>{ranks}{''.join(names)}</tr></thead>" if any(c.title for c in card.columns) else ""
    drawn = f'<table class="ih-table" data-card="{card.id}">{head}<tbody>{"".join(lines)}</tbody></table>'
    return scrolled(card.title, drawn, long=show_all)


def scrolled(title: str, table: str, *, long: bool = False) -> str:
    """A table that scrolls sideways, and when ``long`` up and down as well; the keyboard can scroll it, too."""
    kind = "ih-rows ih-long" if long else "ih-rows"
    return f'<div class="{kind}" role="region" tabindex="0" aria-label="{escape(title)}">{table}</div>'


def _value(c: TableColumn, row: Row, currency: str, address: Address) -> str:
    value = row[c.column]
    text = (
        _breakable(shown(value, c.format, currency)) if c.format == "text" else escape(shown(value, c.format, currency))
    )
    if c.format == "text" and value is not None and not str(value).strip():
        text = "(no name)"  # a link must have something to click on
    if tone := c.tones.get(str(value)):
        text = f'<span class="ih-badge ih-badge-{tone}">{text}</span>'
    key = str(value if c.key is None else row[c.key]) if value is not None else ""
    if c.sets and key:  # an empty text would set it to nothing
        text = f'<a href="{escape(address(c.sets, key, c.opens))}">{text}</a>'
    if c.under and row[c.under] is not None:
        text += f'<span class="ih-beneath">{_breakable(str(row[c.under]))}</span>'
    return text


def _breakable(text: str) -> str:
    """Escaped, with places to break a line: after the marks within a name, and within what is too long for a word."""
    return escape(BREAKS.sub(f"\\g<0>{BREAK}", text)).replace(BREAK, "<wbr>")


def _cell(c: TableColumn, rows: Sequence[Row]) -> str:
    kind = {"text": "ih-text", "hash": "ih-code", "time": "ih-time", "date": "ih-time"}.get(c.format, "ih-figure")
    if kind == "ih-text" and all(len(str(row[c.column] or "")) <= SHORT for row in rows):
        kind += " ih-short"
    return kind + ("" if c.phone else " ih-wide")


def freshness(rows: Sequence[Row], now: datetime) -> str:
    """A line a source: dot, name, events today, age of the newest."""
    lines = []
    for row in rows:
        age = age_of(row, now)
        text = "no events yet" if age.seconds is None else ago(age.seconds)
        lines.append(
            f'<li title="{escape(age.title)}"><span class="ih-dot ih-{age.level}"></span><b>{escape(row["title"])}</b>'
            f'<span class="ih-count">{shown(row["events"], "integer")} today</span>'
            f'<span class="ih-age">{text}</span></li>'
        )
    return f'<ul class="ih-fresh-list">{"".join(lines)}</ul>'


def empty(text: str) -> str:
    """What stands where a chart or a table would, when there is nothing to draw: a line, for many cards may have it."""
    return f'<p class="ih-empty">{_said(text)}</p>'


def _said(text: str) -> str:
    """What is between backticks is shown as code."""
    return CODE.sub(r"<code>\1</code>", escape(text))


def navigation(titles: Mapping[str, str], addresses: Mapping[str, str], chosen: str, account: str = "") -> str:
    """Links to the dashboards, by their names, and to the account of who is logged in."""
    links = "".join(
        f'<a href="{escape(addresses[name])}"{CURRENT if name == chosen else ""}>{escape(title)}</a>'
        for name, title in titles.items()
    )
    links += f'<a class="ih-account" href="/account" target="_self">{escape(account)}</a>' if account else ""
    return f'<nav class="ih-nav" aria-label="Dashboards">{links}</nav>'


def behind(found: Behind, ages: Sequence[Age], certificate: Callable[[str], str]) -> str:
    """How fresh a card is, and which builds, versions and certificates stand behind it, a line each.

    ``certificate`` is the address of a run's.
    """
    lines = [f'<li><span class="ih-dot ih-{age.level}">{escape(age.title)}</span></li>' for age in ages]
    lines += [
        f"<li><b>{_breakable(mart.relation)}</b>{_mart_badge(mart.status)}"
        f'<span class="ih-beneath">{_built(mart.built_at)}</span></li>'
        for mart in found.marts
    ]
    lines += [
        f"<li><b>{_breakable(source.relation)}</b><span>v{source.version}</span>"
        f"{_certificate(source, certificate)}</li>"
        for source in found.sources
    ]
    if found.others:
        lines.append(f'<li class="ih-beneath">Also reads {_breakable(", ".join(found.others))}</li>')
    return f'<ul class="ih-behind">{"".join(lines)}</ul>'


def _built(at: datetime | None) -> str:
    return f"Built by dbt {shown(at, 'time')} UTC" if at else "Not built by dbt yet"


def _mart_badge(status: str) -> str:
    tone = "gain" if status == "ok" else "warn"
    return f'<span class="ih-badge ih-badge-{tone}">{escape(status)}</span>'


def _certificate(source: Source, address: Callable[[str], str]) -> str:
    if source.run is None or source.verified_at is None:
        return '<span class="ih-beneath">No certificate for this version yet</span>'
    tone, said = (
        ("gain", "equal")
        if not source.mismatches
        else ("loss", counted(source.mismatches, "row differs", "rows differ"))
    )
    scope = {"beginning": "all of history", "late": "late events"}.get(source.scope, "some windows")
    return (
        f'<span class="ih-badge ih-badge-{tone}">{said}</span>'
        f'<span class="ih-beneath"><a href="{escape(address(source.run))}">Certificate of {escape(source.run)}</a>,'
        f" {scope}, {shown(source.verified_at, 'time')} UTC</span>"
    )


def notice(title: str, text: str, kind: Literal["loss", "warn"] = "loss") -> str:
    """A box above everything, for a fault that the reader should know of."""
    return (
        f'<div class="ih-notice ih-notice-{kind}" role="alert"><b>{escape(title)}</b><span>{_said(text)}</span></div>'
    )
