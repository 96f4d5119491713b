"""The live page: draws the dashboard that its address names, out of this folder, and keeps it fresh.

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
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from dashboards import charts, tiles
from dashboards.folder import Folder
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
    Parameter,
    TableCard,
)
from dashboards.query import Answer, Answers, Postgres, Question, Row, away, question
from dashboards.theme import Mode, style
from schemas.errors import InsightsError, Misconfigured

ROW_PIXELS = 48
CARD_HEAD_PIXELS = 84
FIRST_WAIT_SECONDS = 4.0
CONNECTIONS = 4
CHOICE = "dashboard"  # the address' parameter that names one


def main(arguments: Sequence[str]) -> None:
    """Draw the page once; its middle then redraws itself every ``refresh_seconds`` of the dashboard."""
    parser = argparse.ArgumentParser(description="The live page.")
    parser.add_argument("--dsn", required=True, help="of Postgres, as libpq takes it")
    parser.add_argument(
        "--dashboard",
        type=Path,
        default=Path(__file__).parent / "sales_overview.yaml",
        help="the file that is shown first; those beside it are a click away",
    )
    options = parser.parse_args(arguments)
    folder = Folder(options.dashboard)
    try:
        name = folder.chosen(st.query_params.get(CHOICE))
        dashboard = folder.dashboard(name)
    except Misconfigured as error:
        st.set_page_config(page_title="Dashboard", layout="wide")
        st.html(style(_mode()))
        st.html(tiles.navigation(folder.titles(), ""))
        st.html(tiles.notice("This dashboard can't be drawn", str(error)))
        return
    st.set_page_config(page_title=dashboard.title, page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")
    st.html(style(_mode()))
    answers = _answers(options.dsn)
    with st.container(key="top"):
        st.html(tiles.navigation(folder.titles(), name))
        choices = _choices(dashboard, answers)
        values = _top(dashboard, choices)

    def live() -> None:
        if _choices(dashboard, answers) != choices:
            st.rerun()
        _live(name, dashboard, answers, values)

    st.fragment(live, run_every=dashboard.refresh_seconds)()


def _mode() -> Mode:
    return "dark" if st.context.theme.type == "dark" else "light"


@st.cache_resource(show_spinner=False)
def _answers(dsn: str) -> Answers:
    """One for the whole server, so that ten readers cost what one does."""
    return Answers(Postgres(dsn, connections=CONNECTIONS).rows, ThreadPoolExecutor(CONNECTIONS, "page-query"))


def _choices(dashboard: Dashboard, answers: Answers) -> dict[str, dict[str, str]]:
    """What there is to pick from, by parameter: titles by value."""
    asked = {p.name: question(dashboard.expanded(p.choices_sql), {}) for p in dashboard.parameters if p.choices_sql}
    found = answers.newest(dict.fromkeys(asked.values(), dashboard.refresh_seconds), wait_seconds=FIRST_WAIT_SECONDS)
    fixed = {p.name: {choice.value: choice.title for choice in p.choices} for p in dashboard.parameters}
    return fixed | {name: {row["value"]: row["title"] for row in found[q].rows or ()} for name, q in asked.items()}


def _top(dashboard: Dashboard, choices: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Title and parameters; a parameter's value is kept in the page's address, so that it can be sent to others."""
    values = {}
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.html(f'<div class="ih-title"><h1>{escape(dashboard.title)}</h1><p>{escape(dashboard.description)}</p></div>')
    with right:
        for parameter in dashboard.parameters:
            titles = choices[parameter.name]
            default = parameter.default or next(iter(titles), "")
            asked = st.query_params.get(parameter.name, default)
            picked = _picked(parameter, titles, asked if asked in titles else default)
            values[parameter.name] = picked or default
            if values[parameter.name] != asked:
                st.query_params[parameter.name] = values[parameter.name]
    return values


def _picked(parameter: Parameter, titles: Mapping[str, str], at_first: str) -> str | None:
    if parameter.choices:
        return st.segmented_control(
            parameter.title,
            list(titles),
            default=at_first,
            format_func=titles.__getitem__,
            key=f"parameter-{parameter.name}",
            label_visibility="collapsed",
            width="stretch",
            required=True,
        )
    if not titles:
        return None
    return st.selectbox(
        parameter.title,
        list(titles),
        index=list(titles).index(at_first),
        format_func=lambda value: titles.get(value, value),
        key=f"parameter-{parameter.name}",
    )


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
    name: str

    def address(self, parameter: str, value: str) -> str:
        """Of this dashboard with the parameter set to the value."""
        return f"?{urlencode({CHOICE: self.name} | dict(self.values) | {parameter: value})}"

    def answer(self, sql: str) -> Answer:
        """The newest answer to a card's SQL."""
        return self.answers[question(self.dashboard.expanded(sql), self.values)]


def _live(name: str, dashboard: Dashboard, answers: Answers, values: Mapping[str, str]) -> None:
    scene = _scene(name, dashboard, answers, values)
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


def _scene(name: str, dashboard: Dashboard, answers: Answers, values: Mapping[str, str]) -> Scene:
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
        name=name,
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
        st.html(tiles.nothing(card.empty) if isinstance(card, TableCard) else tiles.empty(card.empty))
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
        st.html(tiles.table(card, rows, scene.currency, scene.address))
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
