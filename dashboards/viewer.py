"""The live page: draws any dashboard of this folder and keeps it fresh.

Run it with the command that ``dashboards.launch.command`` gives. The password may be left out of ``--dsn`` and handed
over as PGPASSWORD or in a password file, which libpq reads by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from dashboards import charts, tiles
from dashboards.format import clock
from dashboards.layout import Band, bands
from dashboards.model import (
    BarCard,
    Card,
    ColumnCard,
    Dashboard,
    FreshnessCard,
    LineCard,
    NumberCard,
    TableCard,
    load,
)
from dashboards.query import Answer, Answers, Postgres, Question, Row, away, question
from dashboards.theme import Mode, style
from schemas.errors import InsightsError, Misconfigured

ROW_PIXELS = 48
CARD_HEAD_PIXELS = 84
FIRST_WAIT_SECONDS = 4.0
CONNECTIONS = 4


def main(arguments: Sequence[str]) -> None:
    """Draw the page once; its middle then redraws itself every ``refresh_seconds`` of the dashboard."""
    parser = argparse.ArgumentParser(description="The live page.")
    parser.add_argument("--dsn", required=True, help="of Postgres, as libpq takes it")
    parser.add_argument("--dashboard", type=Path, default=Path(__file__).parent / "sales_overview.yaml")
    options = parser.parse_args(arguments)
    try:
        dashboard = load(options.dashboard)
    except Misconfigured as error:
        st.set_page_config(page_title="Dashboard", layout="wide")
        st.html(style(_mode()))
        st.html(tiles.notice("This dashboard can't be drawn", str(error)))
        return
    st.set_page_config(page_title=dashboard.title, page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")
    st.html(style(_mode()))
    with st.container(key="top"):
        values = _top(dashboard)
    answers = _answers(options.dsn)
    st.fragment(_live, run_every=dashboard.refresh_seconds)(dashboard, answers, values)


def _mode() -> Mode:
    return "dark" if st.context.theme.type == "dark" else "light"


@st.cache_resource(show_spinner=False)
def _answers(dsn: str) -> Answers:
    """One for the whole server, so that ten readers cost what one does."""
    return Answers(Postgres(dsn, connections=CONNECTIONS).rows, ThreadPoolExecutor(CONNECTIONS, "page-query"))


def _top(dashboard: Dashboard) -> dict[str, str]:
    """Title and parameters; a parameter's value is kept in the page's address, so that it can be sent to others."""
    values = {}
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.html(f'<div class="ih-title"><h1>{dashboard.title}</h1><p>{dashboard.description}</p></div>')
    with right:
        for parameter in dashboard.parameters:
            titles = {choice.value: choice.title for choice in parameter.choices}
            asked = st.query_params.get(parameter.name, parameter.default)
            picked = st.segmented_control(
                parameter.title,
                list(titles),
                default=asked if asked in titles else parameter.default,
                format_func=titles.__getitem__,
                key=f"parameter-{parameter.name}",
                label_visibility="collapsed",
                width="stretch",
                required=True,
            )
            values[parameter.name] = picked or parameter.default
            if values[parameter.name] != asked:
                st.query_params[parameter.name] = values[parameter.name]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that drawing needs: the answers of one moment."""

    answers: Mapping[Question, Answer]
    dashboard: Dashboard
    values: Mapping[str, str]
    ages: Mapping[str, tiles.Age]
    currency: str
    now: datetime
    mode: Mode

    def answer(self, sql: str) -> Answer:
        """The newest answer to a card's SQL."""
        return self.answers[question(self.dashboard.expanded(sql), self.values)]


def _live(dashboard: Dashboard, answers: Answers, values: Mapping[str, str]) -> None:
    scene = _scene(dashboard, answers, values)
    fault = away(scene.answers.values())
    read_at = max((a.read_at for a in scene.answers.values() if a.read_at), default=None)
    # A place of its own, there or not: what comes and goes would move everything behind it to another place, and the
    # page would for a moment show old cards among new ones.
    above = st.empty()
    if fault:
        since = f"The numbers below are from {clock(read_at)}. " if read_at else ""
        again = f"{since}This page asks again every {dashboard.refresh_seconds:g} s and goes on by itself."
        above.html(tiles.notice("Postgres does not answer", f"{again} ({fault.__cause__ or fault})"))
    for place, band in enumerate(bands(dashboard.cards)):
        _band(band, place, scene)
    st.html(_foot(scene, fault is None, read_at))


def _scene(dashboard: Dashboard, answers: Answers, values: Mapping[str, str]) -> Scene:
    wanted = {
        question(dashboard.expanded(sql), values): card.refresh_seconds or dashboard.refresh_seconds
        for card in dashboard.cards
        for sql in card.statements.values()
    }
    money = question(dashboard.expanded(dashboard.currency_sql), values) if dashboard.currency_sql else None
    if money:
        wanted[money] = 60.0
    found = answers.newest(wanted, wait_seconds=min(FIRST_WAIT_SECONDS, dashboard.refresh_seconds * 0.8))
    rows = found[money].rows if money else ()
    now = datetime.now(UTC)
    ages = {}
    for card in dashboard.cards:
        if isinstance(card, FreshnessCard):
            fresh = found[question(dashboard.expanded(card.sql), values)].rows or ()
            ages = {row["source"]: tiles.age_of(row, now) for row in fresh}
    return Scene(
        answers=found,
        dashboard=dashboard,
        values=values,
        ages=ages,
        currency=str(next(iter(rows[0].values()))) if rows else dashboard.currency,
        now=now,
        mode=_mode(),
    )


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
    age = tiles.oldest(card.reads, scene.ages)
    if isinstance(card, NumberCard) and not (answer.rows is None and answer.problem):
        trend = scene.answer(card.trend_sql).rows if card.trend_sql else ()
        row = answer.rows[0] if answer.rows else None
        st.html(tiles.number(card, row, trend or (), scene.currency, age))
        return
    st.html(tiles.head(card, age))
    if answer.rows is None:
        st.html(tiles.empty(_why(answer.problem)))
    elif not _drawable(card, answer.rows):
        st.html(tiles.empty(card.empty))
    else:
        _drawing(card, answer.rows, scene)


def _why(problem: InsightsError | None) -> str:
    return "Reading …" if problem is None else str(problem)


def _drawable(card: Card, rows: Sequence[Row]) -> bool:
    if isinstance(card, LineCard | ColumnCard):
        return len(rows) > 1 - isinstance(card, ColumnCard) and charts.has_numbers(
            rows, [s.column for s in card.series]
        )
    return bool(rows)


def _drawing(card: Card, rows: Sequence[Row], scene: Scene) -> None:
    height = card.layout.height * ROW_PIXELS - CARD_HEAD_PIXELS
    if isinstance(card, LineCard):
        _chart(card, charts.line(card, rows, scene.currency, scene.mode, height))
    elif isinstance(card, ColumnCard):
        _chart(card, charts.column(card, rows, scene.currency, scene.mode, height))
    elif isinstance(card, BarCard):
        _chart(card, charts.bar(card, rows, scene.currency, scene.mode))
    elif isinstance(card, TableCard):
        st.html(tiles.table(card, rows, scene.currency))
    elif isinstance(card, FreshnessCard):
        st.html(tiles.freshness(rows, scene.now))


def _chart(card: Card, chart: charts.Chart) -> None:
    st.altair_chart(chart, theme=None, width="stretch", key=f"chart-{card.id}", alt=card.title)


def _foot(scene: Scene, healthy: bool, read_at: datetime | None) -> str:
    level = "fresh" if healthy and read_at else "stale"
    read = f"Read {clock(read_at)}" if read_at else "Waiting for Postgres"
    every = f"every {scene.dashboard.refresh_seconds:g} s, times in UTC"
    dot = f'<span class="ih-dot ih-{level}"></span>'
    return f'<div class="ih-bar"><span class="ih-clock">{dot}{read} · {every}</span></div>'


if __name__ == "__main__":
    main(sys.argv[1:])
