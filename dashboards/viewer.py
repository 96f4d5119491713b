"""The live page: draws the dashboard that its address names, out of this folder, and keeps it fresh.

Run it with the command that ``dashboards.launch.command`` gives. The password may be left out of ``--dsn`` and handed
over as PGPASSWORD or in a password file, which libpq reads by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboards import tiles
from dashboards.cards import FreshnessCard
from dashboards.drawing import CHOICE, Scene, address, draw
from dashboards.folder import Folder
from dashboards.format import clock
from dashboards.model import Dashboard, Parameter
from dashboards.provenance import MODELS_SQL, VERSIONS_SQL, Age, Provenance, age_of
from dashboards.query import Answer, Answers, NotThere, Postgres, Question, question
from dashboards.theme import Mode, style
from dashboards.visitor import ANYBODY, Role, Visitor
from schemas.errors import Misconfigured

FIRST_WAIT_SECONDS = 4.0
PROVENANCE_SECONDS = 15.0  # versions, certificates and builds change by hand or every five minutes
PULSE_SECONDS = 1.0
NOT_BUILT = (
    "The marts are not built yet",
    "The first build runs a few minutes after the stack starts, and the cards then fill automatically."
    " To build them now, run `insights dbt build`.",
)
NOT_REFRESHED = "The numbers below are not being updated. This page retries and recovers automatically."
CONNECTIONS = 4
Choices = dict[str, dict[str, str] | None]
VERSIONS, MODELS, PULSE, ZONE = (
    question(sql, {})
    for sql in (VERSIONS_SQL, MODELS_SQL, "select 1", "select ops.shop_zone() as zone, ops.sales_by() as sales_by")
)


def main(arguments: Sequence[str]) -> None:
    """Draw the page once; its middle then redraws itself every ``refresh_seconds`` of the dashboard."""
    parser = argparse.ArgumentParser(description="The live page.")
    parser.add_argument("--dsn", required=True, help="Postgres connection string, in libpq's format")
    parser.add_argument(
        "--dashboard",
        type=Path,
        default=Path(__file__).parent / "sales_overview.yaml",
        help="the dashboard shown first; the others in its folder are linked",
    )
    parser.add_argument("--currency", default="EUR", help="the shop's currency, an ISO 4217 code")
    parser.add_argument("--gated", action="store_true", help="only dashboards/gate reaches this server")
    options = parser.parse_args(arguments)
    folder = Folder(options.dashboard)
    visitor = Visitor.in_headers(st.context.headers) if options.gated else ANYBODY
    try:
        if visitor is None:
            raise Misconfigured("it is not reached through its login")
        name = _chosen(folder, visitor)
        dashboard = folder.dashboard(name)
    except Misconfigured as error:
        st.set_page_config(page_title="Dashboard", layout="wide")
        st.html(style(_mode()))
        _navigate(st.empty(), folder, "", {}, visitor)
        st.html(tiles.notice("This dashboard can't be shown", str(error)))
        return
    st.set_page_config(page_title=dashboard.title, page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")
    st.html(style(_mode()))
    answers = _answers(options.dsn)
    with st.container(key="top"):
        links = st.empty()
        choices = _choices(dashboard, answers, FIRST_WAIT_SECONDS)
        values = _top(dashboard, choices)
        _navigate(links, folder, name, values, visitor)

    with st.container(key="pulse"):
        st.fragment(lambda: _pulse(answers), run_every=PULSE_SECONDS)()

    def live() -> None:
        if _choices(dashboard, answers, 0) != choices:
            st.rerun()
        _live(name, dashboard, answers, values, options.currency, visitor)

    st.fragment(live, run_every=dashboard.refresh_seconds)()


def _mode() -> Mode:
    return "dark" if st.context.theme.type == "dark" else "light"


@st.cache_resource(show_spinner=False)
def _answers(dsn: str) -> Answers:
    """One for the whole server: ten readers cost as much as one."""
    return Answers(Postgres(dsn, connections=CONNECTIONS).rows, ThreadPoolExecutor(CONNECTIONS, "page-query"))


def _chosen(folder: Folder, visitor: Visitor) -> str:
    """The dashboard that the address names; none: the first that they may see. Raises Misconfigured."""
    asked = st.query_params.get(CHOICE)
    name = folder.chosen(asked or visitor.only)
    if not _may_see(folder, visitor, name):
        raise Misconfigured(
            f"{visitor.name} has a link to another dashboard"
            if visitor.only
            else f"{name!r} is not for the role {visitor.role}; the person who manages the logins can give you another"
        )
    return name


def _may_see(folder: Folder, visitor: Visitor, name: str) -> bool:
    return visitor.may_see(name, Role(folder.dashboard(name).seen_by))


def _navigate(
    place: DeltaGenerator, folder: Folder, chosen: str, values: Mapping[str, str], visitor: Visitor | None
) -> None:
    """Links that keep the selected values of parameters that the other dashboard has too."""
    if visitor is None:
        return
    titles = {name: title for name, title in folder.titles().items() if _is_listed(folder, visitor, name)}
    account = "" if visitor.only else visitor.name
    if len(titles) > 1 or account:
        addresses = {name: address(name, _shared(folder, name, values)) for name in titles}
        place.html(tiles.navigation(titles, addresses, chosen, account))


def _is_listed(folder: Folder, visitor: Visitor, name: str) -> bool:
    try:
        return _may_see(folder, visitor, name)
    except Misconfigured:
        return visitor.role == Role.OPERATOR  # opening it shows the mistake


def _shared(folder: Folder, name: str, values: Mapping[str, str]) -> dict[str, str]:
    try:
        known = {parameter.name for parameter in folder.dashboard(name).parameters}
    except Misconfigured:
        return {}
    return {parameter: value for parameter, value in values.items() if parameter in known}


def _choices(dashboard: Dashboard, answers: Answers, wait_seconds: float) -> Choices:
    """The choices of each parameter, as titles by value; None while its list has not been read."""
    asked = {p.name: question(dashboard.expanded(p.choices_sql), {}) for p in dashboard.parameters if p.choices_sql}
    found = answers.newest(dict.fromkeys(asked.values(), dashboard.refresh_seconds), wait_seconds)
    choices: Choices = {}
    for p in dashboard.parameters:
        first = {"": p.all} if p.all else {}
        fixed = {choice.value: choice.title for choice in p.choices}
        rows = found[asked[p.name]].rows if p.name in asked else ()
        # The first again: an empty text among the data must not take its title.
        listed = None if rows is None else first | fixed | {row["value"]: row["title"] for row in rows} | first
        choices[p.name] = listed
    return choices


def _top(dashboard: Dashboard, choices: Choices) -> dict[str, str]:
    """Title and parameters. A parameter's value is kept in the page's address, so that the view can be shared.

    A notice below them names a value that the address asks for and that does not exist.
    """
    values, unknown = {}, []
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    left.html(f'<div class="ih-title"><h1>{escape(dashboard.title)}</h1><p>{escape(dashboard.description)}</p></div>')
    with right.container(key="filters", horizontal=True, horizontal_alignment="right", vertical_alignment="bottom"):
        for parameter in dashboard.parameters:
            listed = choices[parameter.name]
            if listed is None:  # the address' value stays until there is a list to pick from
                values[parameter.name] = st.query_params.get(parameter.name, "")
                continue
            titles = dict(listed)
            default = parameter.default or next(iter(titles), "")
            asked = st.query_params.get(parameter.name, default)
            if parameter.free and asked:
                titles.setdefault(asked, asked)
            picked = _picked(parameter, titles, asked if asked in titles else default)
            values[parameter.name] = picked or default
            _remember(parameter.name, values[parameter.name], default)
            if missing := _missing(parameter.name, asked, titles, changed=values[parameter.name] != default):
                instead = (
                    f"Showing {titles[default]} instead." if default in titles else "There are none to choose yet."
                )
                unknown.append(tiles.notice(f"{parameter.title} {missing} not found", instead, "warn"))
    if unknown:
        st.html("".join(unknown))
    return values


def _missing(parameter: str, asked: str, titles: Mapping[str, str], *, changed: bool) -> str:
    """The value that the address asked for and that is not among the choices, until the reader chooses another one."""
    key = f"missing-{parameter}"
    if asked and asked not in titles:
        st.session_state[key] = asked
    if changed or st.session_state.get(key) in titles:
        st.session_state.pop(key, None)
    return str(st.session_state.get(key, ""))


def _remember(parameter: str, value: str, default: str) -> None:
    """Keep the value in the address; the default is left out."""
    if value != st.query_params.get(parameter, default):
        st.query_params[parameter] = value
    if value == default and parameter in st.query_params:
        del st.query_params[parameter]


def _picked(parameter: Parameter, titles: Mapping[str, str], at_first: str) -> str | None:
    if parameter.choices and not parameter.all:
        return st.segmented_control(
            parameter.title,
            list(titles),
            default=at_first,
            format_func=titles.__getitem__,
            key=f"parameter-{parameter.name}",
            label_visibility="collapsed",
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
        label_visibility="collapsed" if parameter.all else "visible",
        accept_new_options=parameter.free,
    )


def _pulse(answers: Answers) -> None:
    """Show within seconds that Postgres is down or hangs, even on pages that read their numbers four times a minute."""
    answers.newest({PULSE: PULSE_SECONDS}, wait_seconds=0)
    # Always one element: one that comes and goes would shift everything after it, and the page would briefly mix old
    # cards with new ones.
    if fault := answers.away:
        st.html(tiles.notice("Postgres is not responding", f"{NOT_REFRESHED} ({fault.__cause__ or fault})"))
    else:
        st.empty()


def _live(
    name: str, dashboard: Dashboard, answers: Answers, values: Mapping[str, str], currency: str, visitor: Visitor
) -> None:
    scene = replace(_scene(name, dashboard, answers, values, currency), may_export=visitor.may_export)
    shown = [a for asked, a in scene.answers.items() if asked not in (VERSIONS, MODELS, ZONE) and a.rows is None]
    unbuilt = any(isinstance(a.problem, NotThere) and a.problem.is_mart for a in shown)
    if unbuilt:
        st.html(tiles.notice(*NOT_BUILT, "warn"))
    else:
        st.empty()  # for the same reason
    draw(scene)
    read_at = max((a.read_at for a in scene.answers.values() if a.read_at), default=None)
    st.html(_foot(scene, answers.away is None, read_at))


def _scene(name: str, dashboard: Dashboard, answers: Answers, values: Mapping[str, str], currency: str) -> Scene:
    wanted = {
        question(dashboard.expanded(sql), values): card.refresh_seconds or dashboard.refresh_seconds
        for card in dashboard.cards
        for sql in card.statements.values()
    }
    wanted |= dict.fromkeys((VERSIONS, MODELS, ZONE), PROVENANCE_SECONDS)
    found = answers.newest(wanted, wait_seconds=min(FIRST_WAIT_SECONDS, dashboard.refresh_seconds * 0.8))
    now = datetime.now(UTC)
    return Scene(
        answers=found,
        dashboard=dashboard,
        values=values,
        ages=_ages(dashboard, values, found, now),
        provenance=Provenance(found[VERSIONS].rows or (), found[MODELS].rows or ()),
        currency=currency,
        now=now,
        mode=_mode(),
        name=name,
    )


def _ages(
    dashboard: Dashboard, values: Mapping[str, str], found: Mapping[Question, Answer], now: datetime
) -> dict[str, Age]:
    """By source, from the freshness card if there is one."""
    for card in dashboard.cards:
        if isinstance(card, FreshnessCard):
            rows = found[question(dashboard.expanded(card.sql), values)].rows or ()
            return {row["source"]: age_of(row, now) for row in rows}
    return {}


def _foot(scene: Scene, healthy: bool, read_at: datetime | None) -> str:
    level = "fresh" if healthy and read_at else "stale"
    read = f"Updated {clock(read_at)}" if read_at else "Waiting for Postgres"
    zones = {row["zone"] for row in scene.answers[ZONE].rows or ()} - {"UTC"}
    days = "".join(f", days of {escape(zone)}" for zone in zones)
    days += "".join(f", sales by {escape(row['sales_by'])}" for row in scene.answers[ZONE].rows or ())
    every = f"refreshes every {scene.dashboard.refresh_seconds:g} s · times in UTC{days}"
    dot = f'<span class="ih-dot ih-{level}"></span>'
    return f'<div class="ih-bar"><span class="ih-clock">{dot}{read} · {every}</span></div>'


if __name__ == "__main__":
    main(sys.argv[1:])
