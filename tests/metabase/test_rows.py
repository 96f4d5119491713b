"""Every card's SQL on a real Postgres with real marts: as Metabase sends it, it returns what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from dashboards.cards import Card, HeatmapCard, NumberCard
from dashboards.metabase.render import render
from dashboards.model import Dashboard, load
from dashboards.query import question
from tests.metabase.as_metabase import run
from tests.metabase.folders import READER_PASSWORD, Command
from tests.metabase.stand_in import API_KEY, StandIn
from tests.web.marts_shop import marts_shop
from warehouse.roles import provide_metabase

FOLDER = Path(__file__).parents[2] / "dashboards"
FILES = sorted(FOLDER.glob("*.yaml"))
VALUES_TRIED = 3
OF_THE_LAST_MINUTES = {"operations/events_today", "sales_overview/orders_now", "sales_overview/visitors_now"}
"""A shop of months ago has none, and null is what both say."""

# What goes wrong or is watched: nothing of it is in a shop that only trades.
TROUBLE = """
insert into ops.dead_letters (kafka_partition, kafka_offset, dead_at, topic, error, reason)
select 0, n, timestamptz '2026-03-01 10:00Z' + n * interval '9 hours', 'sales.order_placed.v1', 'Broken', 'no id'
from generate_series(1, 7) as n;
insert into ops.redrives values
    (0, 1, '2026-03-01 19:00Z', 'sales.order_placed.v1', 'redriven', 'e', 'r', 'x', null, 'anna', now()),
    (0, 2, '2026-03-02 04:00Z', 'sales.order_placed.v1', 'failed', null, 'r', 'x', 'no', 'anna', now());
insert into ops.dead_records values
    ('sales.order_placed.v1', 0, 7, '2026-03-01 10:00Z', 'the registry has no Avro schema 9', true, '\\x00'),
    ('sales.order_placed.v1', 1, 3, '2026-03-02 10:00Z', 'currency is USD; the shop has EUR', false, null);
insert into ops.alerts (rule, fingerprint, label, title, severity, state, since, last_seen, detail)
values ('low_stock', 'f1', 'P-1', 'Low stock', 'warning', 'firing', now(), now(), '2 left');
insert into ops.dbt_builds values ('i1', now(), now(), 'ok', 30, 90, 0, null, null);
insert into ops.dbt_models values ('marts.rfm', 'table', 'Scores', now(), 1.5, 'ok', '{live.sessions}');
insert into ops.connected_shops values ('bikes', 'https://bikes.example', now()), ('new', 'https://new.example', now());
insert into ops.agreement_runs values
    ('bikes', now() - interval '1 day', '2026-01-01', 419, 1, 1, 0, 'different', null),
    ('bikes', now(), null, null, null, null, null, 'failed', 'it answered 503');
insert into ops.agreement_days values
    ('bikes', '2026-02-03', 'orders', 12, 12), ('bikes', '2026-02-03', 'sales', 1190.5, 1200.5);
insert into versions.wiki_edits_per_minute_v1 values
    (date_trunc('minute', now()), 'enwiki', true, 3, 1, 2, 1, 90, 5),
    (date_trunc('minute', now()), 'dewiki', false, 7, 0, 6, 5, 400, 80);
insert into versions.vehicles_per_minute_v1 values
    (date_trunc('minute', now()), 'city', true, '7', 9, 3), (date_trunc('minute', now()), 'rail', false, '', 4, 2);
insert into versions.vehicle_positions_v1 values
    ('p1', now(), 'city', 'city:1', '7', 48.2, 16.37), ('p2', now(), 'rail', 'rail:1', null, 48.3, 16.4);
insert into ops.agreement_orders values
    ('bikes', '7', 'different', 'sales', '2026-02-03', '{"sales": "19.00"}', '{"sales": "29.00"}', 'not read'),
    ('bikes', '8', 'pending', 'missing here', '2026-02-03', '{"sales": "5.00"}', null, 'late');
"""

pytestmark = [pytest.mark.timeout(600), pytest.mark.engine]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a shop of some months with awkward names, its marts as dbt builds them, and runs of replays."""
    with marts_shop(tmp_path_factory.mktemp("shop"), seed=3, size=150, trouble=TROUBLE) as found:
        provide_metabase(found.postgres, READER_PASSWORD)
        yield found.dsn


@pytest.fixture
def connection(shop: str) -> Iterator[psycopg.Connection[DictRow]]:
    """With the page's time zone, for both."""
    with psycopg.connect(shop, row_factory=dict_row, options="-c timezone=UTC -c jit=off") as found:
        yield found


def asked_by_page(connection: psycopg.Connection[DictRow], sql: str, values: dict[str, str]) -> list[dict[str, Any]]:
    asked = question(sql, values)
    return connection.execute(asked.sql.encode(), dict(asked.values)).fetchall()


def choices(connection: psycopg.Connection[DictRow], dashboard: Dashboard) -> dict[str, list[str]]:
    """What a reader may pick, by parameter, the page's default first."""
    found: dict[str, list[str]] = {}
    for parameter in dashboard.parameters:
        values = [choice.value for choice in parameter.choices]
        if parameter.choices_sql:
            rows = asked_by_page(connection, dashboard.expanded(parameter.choices_sql), {})
            values = [row["value"] for row in rows]
        first = "" if parameter.all else parameter.default or (values or [""])[0]
        found[parameter.name] = [first, *(value for value in values if value != first)]
    return found


def selections(offered: dict[str, list[str]]) -> list[dict[str, str]]:
    """The defaults, the last other values of each parameter by itself, and the last of all at once.

    Of periods the last is the longest, and all that a shop of months ago has anything in.
    """
    defaults = {name: values[0] for name, values in offered.items()}
    one = [defaults | {name: value} for name, values in offered.items() for value in values[1:][-VALUES_TRIED:]]
    last = {name: values[-1] for name, values in offered.items()}
    return [defaults, *one, last]


def shown_there(card: Card, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The page's rows with the columns that Metabase is given."""
    if isinstance(card, HeatmapCard):
        return [{"row": r[card.row], "column": r[card.column], "value": r[card.value]} for r in rows]
    if isinstance(card, NumberCard):
        return [{name: row.get(name) for name in ("value", "previous")} for row in rows]
    return rows


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_card_returns_what_the_page_shows_whatever_is_picked(
    connection: psycopg.Connection[DictRow], path: Path
) -> None:
    dashboard = load(path)
    rendered = render(path.stem, dashboard, "EUR")
    offered = choices(connection, dashboard)
    empty = {card.key for card in rendered.cards}
    for selection in selections(offered):
        # What is not set in Metabase has the same default there.
        given = {name: value for name, value in selection.items() if value != offered[name][0]}
        for card, there in zip(dashboard.cards, rendered.cards, strict=True):
            # One transaction, and so one now() for both.
            with connection.transaction():
                page = shown_there(card, asked_by_page(connection, dashboard.expanded(card.sql), selection))
                connection.execute("set local role metabase_reader")
                metabase = [dict(row) for row in run(connection, there.query.payload("x", 1)["stages"][0], given)]
            if isinstance(card, NumberCard):
                metabase = [{name: row.get(name) for name in ("value", "previous")} for row in metabase]
            assert metabase == page, (there.key, selection)
            if any(value is not None for row in page for value in row.values()):
                empty.discard(there.key)
    assert empty <= OF_THE_LAST_MINUTES


def test_every_card_runs_in_a_metabase_that_the_dashboards_were_brought_to(shop: str, metabase: StandIn) -> None:
    command = Command(metabase, shop, FOLDER)
    command.apply()
    assert len(metabase.dashboards) == len(FILES)
    metabase.asked.clear()
    assert command.apply() == ["Metabase is up to date; nothing was changed."]
    assert metabase.changes == []
    for number, card in metabase.cards.items():
        body = {"ignore_cache": True}
        done = metabase.answer("POST", f"/card/{number}/query", {}, body, {"x-api-key": API_KEY})
        assert done["status"] == "completed", (card["name"], done["error"])


def test_a_filters_values_are_those_that_its_card_returns(shop: str, metabase: StandIn) -> None:
    Command(metabase, shop, FOLDER).apply()
    sources_of = [
        parameter["values_source_config"]["card_id"]
        for dashboard in metabase.dashboards.values()
        for parameter in dashboard["parameters"]
        if parameter["values_source_type"] == "card"
    ]
    assert sources_of
    for number in sources_of:
        done = metabase.answer("POST", f"/card/{number}/query", {}, {"ignore_cache": True}, {"x-api-key": API_KEY})
        assert [column["name"] for column in done["data"]["cols"]][:2] == ["value", "title"]
