"""Heat maps, funnels and treemaps as HTML: they wrap and shrink where a chart could not. Pure; all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from dashboards.cards import FunnelCard, HeatmapCard, TreemapCard
from dashboards.format import exact, shown
from dashboards.query import Row
from dashboards.tiles import scrolled

HEAT_HEAD_PIXELS = 64
PHONE_ASPECT = 0.85
TREE_TONES = ("accent", "third", "second", "gain", "quiet")


def heatmap(card: HeatmapCard, rows: Sequence[Row], currency: str, height: int) -> str:
    """A table whose cells are coloured by their share of the largest value; its rows share ``height`` pixels."""
    down = list(dict.fromkeys(str(row[card.row]) for row in rows))
    across = list(dict.fromkeys(str(row[card.column]) for row in rows))
    cells = {(str(row[card.row]), str(row[card.column])): row for row in rows}
    largest = card.most or max((float(row[card.value] or 0) for row in rows), default=0.0)
    first = {name: next(row for row in rows if str(row[card.row]) == name) for name in down}
    head = f'<th scope="col">{escape(card.row_title)}</th>'
    if card.size:
        head += f'<th scope="col" class="ih-figure">{escape(card.size_title)}</th>'
    head += "".join(f'<th scope="col">{escape(name)}</th>' for name in across)
    lines = []
    for name in down:
        line = f'<th scope="row">{escape(name)}</th>'
        if card.size:
            line += f'<td class="ih-figure">{escape(shown(first[name][card.size], "integer"))}</td>'
        line += "".join(_heat(card, cells.get((name, column)), largest, currency) for column in across)
        lines.append(f"<tr>{line}</tr>")
    above = f'<p class="ih-across">{escape(card.column_title)}</p>' if card.column_title else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    pixels = max(28, min(62, (height - HEAT_HEAD_PIXELS) // max(len(down), 1)))
    table = f'<table class="ih-heat" data-card="{card.id}" style="--row:{pixels}px">{body}</table>'
    return above + scrolled(card.title, table)


def _heat(card: HeatmapCard, row: Row | None, largest: float, currency: str) -> str:
    if row is None or row[card.value] is None:
        return "<td></td>"
    share = min(max(float(row[card.value]), 0.0) / largest, 1.0) if largest else 0.0
    hint = str(row[card.hint] or "") if card.hint else exact(row[card.value], card.format, currency)
    text = escape(shown(row[card.value], card.format, currency))
    return f'<td class="ih-cell" style="--share:{share:.3f}" title="{escape(hint)}">{text}</td>'


def funnel(card: FunnelCard, rows: Sequence[Row], currency: str) -> str:
    """One bar per step, as wide as its share of the first step, with its share of the previous step."""
    first = float(rows[0][card.value] or 0)
    lines, before = [], 0.0
    for place, row in enumerate(rows):
        value = float(row[card.value] or 0)
        of_first = value / first if first else 0.0
        kept = f"{shown(value / before, 'percent')} of the previous step" if place and before else ""
        lines.append(
            f'<li><span class="ih-step"><b>{escape(str(row[card.step]))}</b>'
            f'<span class="ih-beneath">{escape(kept)}</span></span>'
            f'<span class="ih-track"><i style="width:{max(of_first * 100, 0.4):.2f}%"></i></span>'
            f'<span class="ih-amount" title="{escape(exact(row[card.value], card.format, currency))}">'
            f"<b>{escape(shown(row[card.value], card.format, currency))}</b>"
            f'<span class="ih-beneath">{escape(shown(of_first, "percent"))}</span></span></li>'
        )
        before = value
    return f'<ol class="ih-funnel" data-card="{card.id}">{"".join(lines)}</ol>'


def treemap(card: TreemapCard, rows: Sequence[Row], currency: str, aspect: float) -> str:
    """Boxes that fill the card, as large as their values; laid out once for a wide page and once for a phone."""
    kept = [row for row in rows if float(row[card.value] or 0) > 0]
    total = sum(float(row[card.value]) for row in kept)
    drawn = ""
    for kind, shape in (("ih-wide", aspect), ("ih-narrow", PHONE_ASPECT)):
        boxes = squarified([float(row[card.value]) for row in kept], shape)
        drawn += f'<ul class="ih-tree {kind}" data-card="{card.id}">'
        drawn += "".join(
            _box(card, row, box, TREE_TONES[i % len(TREE_TONES)], total, currency)
            for i, (row, box) in enumerate(zip(kept, boxes, strict=True))
        )
        drawn += "</ul>"
    return drawn


def _box(card: TreemapCard, row: Row, box: Box, tone: str, total: float, currency: str) -> str:
    label, value = str(row[card.label]), row[card.value]
    tone = card.tones.get(label, tone)
    place = f"left:{box.x:.3%};top:{box.y:.3%};width:{box.width:.3%};height:{box.height:.3%}"
    note = str(row[card.note] or "") if card.note else ""
    share = shown(float(value) / total, "percent")
    title = f"{label}: {exact(value, card.format, currency)}, {share}" + (f"; {note}" if note else "")
    return (
        f'<li class="ih-box ih-box-{tone}" style="{place}" title="{escape(title)}"><div><b>{escape(label)}</b>'
        f"<span>{escape(shown(value, card.format, currency))} · {escape(share)}</span>"
        f"<small>{escape(note)}</small></div></li>"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Shares of the whole's width and height, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def squarified(values: Sequence[float], aspect: float) -> list[Box]:
    """A box a value, as near to squares as can be, in a whole that is ``aspect`` times as wide as high. Largest first.

    Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
    """
    total = sum(values)
    boxes: list[Box] = []
    x, y, width, height = 0.0, 0.0, aspect, 1.0
    rest = [value / total * aspect for value in values] if total else []
    while rest:
        side = min(width, height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side) <= _worst(rest[:count], side):
            count += 1
        row, rest = rest[:count], rest[count:]
        depth = sum(row) / side if rest else max(width, height)  # the last row takes what rounding has left
        at = 0.0
        for area in row:
            length = area / depth
            if width >= height:
                boxes.append(Box(x=x / aspect, y=y + at, width=depth / aspect, height=length))
            else:
                boxes.append(Box(x=(x + at) / aspect, y=y, width=length / aspect, height=depth))
            at += length
        if width >= height:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
    return boxes


def _worst(row: Sequence[float], side: float) -> float:
    """The least square of the areas that share a side: how many times as long as wide."""
    total = sum(row)
    return max(max(side**2 * area / total**2, total**2 / (side**2 * area)) for area in row)
