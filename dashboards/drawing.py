"""The cards of one moment, drawn with Streamlit: bands of columns, and in each card its head, about and content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from urllib.parse import urlencode

import streamlit as st

from dashboards import charts, html_charts, tiles
from dashboards.cards import (
    GRID_COLUMNS,
    BarCard,
    Card,
    ColumnCard,
    FreshnessCard,
    FunnelCard,
    HeatmapCard,
    LineCard,
    MapCard,
    NumberCard,
    TableCard,
    TreemapCard,
)
from dashboards.export import csv_of, file_name
from dashboards.format import clock
from dashboards.layout import Band, bands
from dashboards.model import Dashboard
from dashboards.provenance import Age, Provenance, oldest
from dashboards.query import Answer, Question, Row, question
from dashboards.theme import Mode
from schemas.errors import InsightsError
from schemas.plural import counted

ROW_PIXELS = 48
CARD_HEAD_PIXELS = 84
PAGE_PIXELS = 1416  # the content of a wide page; a treemap must know its shape
CHOICE = "dashboard"  # the address' parameter that names one
CERTIFICATES = "replays"  # the dashboard that shows a run's certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that drawing needs, as of one moment."""

    answers: Mapping[Question, Answer]
    dashboard: Dashboard
    values: Mapping[str, str]
    ages: Mapping[str, Age]
    provenance: Provenance
    currency: str
    now: datetime
    mode: Mode
    name: str
    may_export: bool = True

    def address(self, parameter: str, value: str, dashboard: str | None = None) -> str:
        """Of this dashboard with the parameter set to the value, or of another one."""
        return address(dashboard or self.name, {**self.values, parameter: value})

    def answer(self, sql: str) -> Answer:
        """The newest answer to a card's SQL."""
        return self.answers[question(self.dashboard.expanded(sql), self.values)]


def address(dashboard: str, values: Mapping[str, str]) -> str:
    """The address of a dashboard with its parameters set; those it does not have do no harm."""
    return f"?{urlencode({CHOICE: dashboard} | {name: value for name, value in values.items() if value})}"


def draw(scene: Scene) -> None:
    """All cards, in reading order."""
    for place, band in enumerate(bands(scene.dashboard.cards)):
        _band(band, place, scene)


def _band(band: Band, place: int, scene: Scene) -> None:
    with st.container(key=f"{'tiles' if band.tiles else 'band'}-{place}"):
        drawn = st.columns([column.width for column in band.columns], gap="small")
        for column, spot in zip(band.columns, drawn, strict=True):
            with spot:
                for card in column.cards:
                    with st.container(key=f"card-{card.id}"):
                        _card(card, scene)


def _card(card: Card, scene: Scene) -> None:
    answer = scene.answer(card.sql)
    behind = scene.provenance.behind(scene.dashboard.relations(card))
    ages = [scene.ages[source] for source in card.reads if source in scene.ages] + behind.ages(scene.now)
    age = oldest(ages)
    _about(card, scene, answer, tiles.behind(behind, ages, lambda run: address(CERTIFICATES, {"run": run})))
    if isinstance(card, NumberCard):
        trend = scene.answer(card.trend_sql).rows if card.trend_sql else ()
        row = answer.rows[0] if answer.rows else None
        problem = _stuck(answer) if answer.rows else _why(answer.problem) if answer.rows is None else ""
        st.html(tiles.number(card, row, trend or (), scene.currency, age, problem))
        return
    rows = answer.rows if answer.rows and _drawable(card, answer.rows) else ()
    cautions = scene.answer(card.caution_sql).rows if rows and card.caution_sql else ()
    st.html(tiles.head(card, rows, age, _stuck(answer), cautions[0]["said"] if cautions else ""))
    if rows:
        _drawing(card, rows, scene)
    else:
        st.html(tiles.empty(_why(answer.problem) if answer.rows is None else card.empty))


def _about(card: Card, scene: Scene, answer: Answer, behind: str) -> None:
    """A button in the card's corner: data freshness, provenance, and the rows as CSV."""
    with st.popover(f"About {card.title}", key=f"about-{card.id}", type="tertiary"):
        st.html(f'<div class="ih-about"><b>{escape(card.title)}</b>{tiles.note(card)}</div>{behind}')
        if answer.rows and scene.may_export:
            rows, chosen = answer.rows, [v for v in scene.values.values() if v]
            st.download_button(
                f"Download CSV, {counted(len(rows), 'row')}",
                # Made when it is asked for.
                data=lambda: csv_of(rows),
                file_name=file_name(scene.name, card.id, chosen, answer.read_at or scene.now),
                mime="text/csv",
                key=f"csv-{card.id}",
                on_click="ignore",
                icon=":material/download:",
                width="stretch",
            )


def _why(problem: InsightsError | None) -> str:
    return "Loading…" if problem is None else str(problem)


def _stuck(answer: Answer) -> str:
    """Why the numbers shown could not be updated; empty when they could."""
    if answer.rows is None or answer.problem is None:
        return ""
    return f"Last updated {clock(answer.read_at)}: {answer.problem}" if answer.read_at else str(answer.problem)


def _drawable(card: Card, rows: Sequence[Row]) -> bool:
    if isinstance(card, LineCard | ColumnCard):
        return charts.has_numbers(rows, [s.column for s in card.series])
    if isinstance(card, FunnelCard | TreemapCard | HeatmapCard):
        return charts.has_numbers(rows, [card.value])
    return bool(rows)


def _drawing(card: Card, rows: Sequence[Row], scene: Scene) -> None:
    height = card.layout.height * ROW_PIXELS - CARD_HEAD_PIXELS
    if isinstance(card, LineCard):
        _chart(card, charts.line(card, rows, scene.currency, scene.mode, height))
    elif isinstance(card, ColumnCard):
        _chart(card, charts.column(card, rows, scene.currency, scene.mode, height))
    elif isinstance(card, BarCard):
        _chart(card, charts.bar(card, rows, scene.currency, scene.mode))
    elif isinstance(card, HeatmapCard):
        st.html(html_charts.heatmap(card, rows, scene.currency, height))
    elif isinstance(card, FunnelCard):
        st.html(html_charts.funnel(card, rows, scene.currency))
    elif isinstance(card, TreemapCard):
        aspect = card.layout.width / GRID_COLUMNS * PAGE_PIXELS / height
        st.html(f'<div style="--height:{height}px">{html_charts.treemap(card, rows, scene.currency, aspect)}</div>')
    elif isinstance(card, MapCard):
        _chart(card, charts.places(rows, scene.mode, height))
    elif isinstance(card, TableCard):
        _table(card, rows, scene)
    elif isinstance(card, FreshnessCard):
        st.html(tiles.freshness(rows, scene.now))


def _table(card: TableCard, rows: Sequence[Row], scene: Scene) -> None:
    """The card's first rows, and below them a button that shows the others, and hides them again."""
    if card.first is None or len(rows) <= card.first:
        st.html(tiles.table(card, rows, scene.currency, scene.address))
        return
    key = f"all-{card.id}"
    show_all = bool(st.session_state.get(key))
    st.html(tiles.table(card, rows, scene.currency, scene.address, show_all=show_all))
    st.button(
        f"Show first {card.first}" if show_all else f"Show all {len(rows):,}",
        key=f"rows-{card.id}",
        type="tertiary",
        on_click=st.session_state.__setitem__,
        args=(key, not show_all),
    )


def _chart(card: Card, chart: charts.Chart) -> None:
    st.altair_chart(chart, theme=None, width="stretch", key=f"chart-{card.id}", alt=card.title)
