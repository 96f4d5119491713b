"""What a dashboard's file becomes in Metabase."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dashboards.metabase.identity import described, key_of
from dashboards.metabase.render import MetabaseDashboard, merged, missing_targets, render
from dashboards.metabase.validate import own_problems
from dashboards.metabase.visualization import column_key
from dashboards.model import Dashboard, load
from schemas.errors import Misconfigured
from tests.metabase.as_metabase import MissingValue, as_sent
from tests.metabase.folders import a_card, a_dashboard

FOLDER = Path(__file__).parents[2] / "dashboards"
FILES = sorted(FOLDER.glob("*.yaml"))
RANGE = {"name": "range", "title": "Time range", "default": "1 day", "choices": [{"title": "1 d", "value": "1 day"}]}
REGION = {"name": "region", "title": "Region", "all": "All regions", "choices_sql": "select 'n' as value, 'N' as title"}
RUN = {"name": "run", "title": "Run", "choices_sql": "select r as value, r as title from runs order by at desc limit 9"}


def rendered(*cards: dict[str, Any], **changes: Any) -> MetabaseDashboard:
    return render("sales", Dashboard.model_validate(a_dashboard(*cards, **changes)), "EUR")


def stage(dashboard: MetabaseDashboard, number: int = 0) -> dict[str, Any]:
    card = dashboard.cards[number]
    (only,) = card.query.payload(card.key, 1)["stages"]
    return dict(only)


def numbers_of(dashboard: MetabaseDashboard) -> dict[str, int]:
    return {card.key: number for number, card in enumerate(dashboard.all_cards, start=1)}


def test_a_parameter_is_a_text_that_must_have_a_value_when_it_has_a_default() -> None:
    query = stage(rendered(a_card("a", sql="select cast({{range}} as interval) as value"), parameters=[RANGE]))
    assert query["native"] == "select cast({{range}} as interval) as value"
    tag = query["template-tags"]["range"]
    assert UUID(tag.pop("id")).version == 4
    assert tag == {
        "name": "range",
        "display-name": "Time range",
        "type": "text",
        "required": True,
        "default": "1 day",
    }


def test_the_choice_of_all_has_no_value_and_its_clause_is_left_out() -> None:
    query = stage(
        rendered(
            a_card("a", sql="select 1 as value from x where true [[and region = {{region}}]]"), parameters=[REGION]
        )
    )
    assert "required" not in query["template-tags"]["region"]
    assert as_sent(query, {}) == ("select 1 as value from x where true ", [])
    assert as_sent(query, {"region": "n"}) == ("select 1 as value from x where true and region = %s", ["n"])


def test_a_list_that_comes_from_the_data_has_its_first_row_as_the_value_when_none_is_given() -> None:
    query = stage(rendered(a_card("a", sql="select 1 as value from x where run = {{run}}"), parameters=[RUN]))
    sql, values = as_sent(query, {})
    assert values == []
    assert re.sub(r"\s+", " ", sql) == (
        "select 1 as value from x where run = coalesce((select choice.value from ( select r as value, r as title from"
        " runs order by at desc limit 9 ) as choice limit 1), '')"
    )
    assert as_sent(query, {"run": "r7"})[1] == ["r7"]


def test_snippets_are_put_in_for_metabase_has_its_own() -> None:
    card = a_card("a", sql="select {{snippet: days}} as value")
    assert stage(rendered(card, snippets={"days": "1 + 1"}))["native"] == "select 1 + 1 as value"


def test_a_variable_without_a_value_is_an_error_there_as_it_is_in_metabase() -> None:
    with pytest.raises(MissingValue, match="region"):
        as_sent({"native": "select {{region}}", "template-tags": {"region": {"type": "text"}}}, {})


@pytest.mark.parametrize("operator", ["?", "?|", "@?"])
def test_an_operator_that_metabase_takes_for_a_values_place_is_refused(operator: str) -> None:
    with pytest.raises(Misconfigured, match="has a question mark"):
        rendered(a_card("a", sql=f"select 1 as value where '{{}}'::jsonb {operator} 'a'"))
    in_a_snippet = {"there": f"'{{}}'::jsonb {operator} 'a'"}
    with pytest.raises(Misconfigured, match="has a question mark"):
        rendered(a_card("a", sql="select 1 as value where {{snippet: there}}"), snippets=in_a_snippet)
    assert rendered(a_card("a", sql="select 'why?' as value -- really?"))


@pytest.mark.parametrize(
    ("changes", "display"),
    [
        ({}, "scalar"),
        ({"compare": "in the last minute"}, "scalar"),
        ({"compare": "vs. previous period", "sql": "select 1 as value, 2 as previous"}, "smartscalar"),
        ({"kind": "line", "series": [{"column": "a", "title": "A", "style": "area"}]}, "line"),
        ({"kind": "column", "series": [{"column": "a", "title": "A"}]}, "bar"),
        ({"kind": "bar"}, "row"),
        ({"kind": "treemap"}, "row"),
        ({"kind": "map"}, "scatter"),
        ({"kind": "funnel"}, "funnel"),
        ({"kind": "heatmap"}, "table"),
        ({"kind": "table", "columns": [{"column": "a", "title": "A"}]}, "table"),
        ({"kind": "freshness"}, "table"),
    ],
)
def test_each_kind_of_card_has_a_display(changes: dict[str, Any], display: str) -> None:
    assert rendered(a_card("a", **changes)).cards[0].display == display


def test_a_number_with_the_period_before_is_a_trend_of_one_row() -> None:
    card = a_card("a", compare="vs. the day before", better="lower", sql="select 1 as value, 2 as previous")
    (shown,) = rendered(card).cards
    (comparison,) = shown.settings["scalar.comparisons"]
    assert (comparison["column"], comparison["label"]) == ("previous", "the day before")
    assert shown.settings["scalar.switch_positive_negative"]
    assert shown.query.sql.startswith("select\n    now() as at,")


def test_a_table_keeps_its_columns_order_titles_formats_and_badges() -> None:
    columns = [
        {"column": "name", "title": "Name", "under": "place", "hint": "full"},
        {"column": "spent", "title": "Spent", "format": "currency", "bar": True},
        {"column": "state", "title": "State", "tones": {"low": "loss"}},
    ]
    settings = rendered(a_card("a", kind="table", sql="select 1", columns=columns)).cards[0].settings
    assert [(c["name"], c["enabled"]) for c in settings["table.columns"]] == [
        *[("name", True), ("place", True), ("spent", True), ("state", True)],
        ("full", False),
    ]
    spent = settings["column_settings"][column_key("spent")]
    assert (spent["number_style"], spent["currency"], spent["show_mini_bar"]) == ("currency", "EUR", True)
    (badge,) = settings["table.column_formatting"]
    assert (badge["columns"], badge["operator"], badge["value"]) == (["state"], "=", "low")


def test_a_heat_map_is_a_table_pivoted_and_coloured_up_to_its_most() -> None:
    (card,) = rendered(a_card("a", kind="heatmap", row="month", column="age", most=0.5)).cards
    assert (card.settings["table.pivot_column"], card.settings["table.cell_column"]) == ("column", "value")
    (colours,) = card.settings["table.column_formatting"]
    assert (colours["min_value"], colours["max_type"], colours["max_value"]) == (0, "custom", 0.5)
    assert 'heat."month" as "row"' in card.query.sql


def test_a_short_list_is_offered_with_its_titles_and_a_long_one_by_a_card() -> None:
    dashboard = rendered(
        a_card("a", sql="select cast({{range}} as interval) as value from x [[where r = {{region}}]]"),
        parameters=[RANGE, REGION | {"free": True}],
    )
    short, long = dashboard.filters(numbers_of(dashboard))
    assert short["values_source_config"] == {"values": [["1 day", "1 d"]]}
    assert (short["default"], short["required"], short["values_query_type"]) == (["1 day"], True, "list")
    assert long["values_source_config"]["card_id"] == numbers_of(dashboard)["sales/choices_region"]
    assert "default" not in long
    assert long["values_query_type"] == "search", "a value that is not in the list can be typed"


def test_a_link_to_a_dashboard_or_a_filter_that_is_not_there_is_found() -> None:
    def opening(**column: str) -> MetabaseDashboard:
        columns = [{"column": "name", "title": "Name", **column}]
        return rendered(a_card("a", kind="table", sql="select 1", columns=columns))

    assert "there is no such dashboard" in missing_targets([opening(sets="region", opens="gone")])[0]
    assert "which has no parameter region" in missing_targets([opening(sets="region", opens="sales")])[0]


def test_a_table_that_metabases_user_may_not_read_is_found() -> None:
    dashboard = rendered(a_card("a", sql="select count(*) as value from snapshots.products"))
    assert own_problems([dashboard]) == [
        "card sales/a reads snapshots.products, and Metabase's user may read events, live, marts, ops only"
    ]


def test_dashcards_keep_their_numbers_and_tabs_and_those_of_others_stay() -> None:
    wanted = [{"id": -1, "card_id": 7, "row": 0}, {"id": -2, "card_id": 8, "row": 3}]
    found = [
        {"id": 31, "card_id": 7, "row": 9, "dashboard_tab_id": 5},
        {"id": 32, "card_id": 9, "row": 1, "dashboard_tab_id": 5},
        {"id": 33, "card_id": None, "row": 2, "dashboard_tab_id": 5, "created_at": "…"},
    ]
    assert merged(wanted, found, ours=frozenset({7, 8, 9})) == [
        {"id": 31, "card_id": 7, "row": 0, "dashboard_tab_id": 5},
        {"id": -2, "card_id": 8, "row": 3, "dashboard_tab_id": 5},
        {"id": 33, "card_id": None, "row": 2, "dashboard_tab_id": 5},
    ]


def test_an_object_is_recognized_by_the_key_anywhere_in_its_description() -> None:
    assert key_of(described("sales_overview", "Net of refunds")) == "sales_overview"
    assert key_of(f"Ours. {described('stock/cover', '')} Ask Ada.") == "stock/cover"
    assert key_of(described("Our shop-2/orders", "")) == "Our shop-2/orders"
    assert key_of("Written by Ada") is None
    assert key_of(None) is None


def test_every_card_of_every_dashboard_has_a_key_of_its_own() -> None:
    cards = [c for path in FILES for c in render(path.stem, load(path), "EUR").all_cards]
    keys = [key_of(card.payload(database=1, collection=1)["description"]) for card in cards]
    assert keys == [card.key for card in cards]
    assert len(set(keys)) == len(cards) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_filter_of_every_dashboard_reaches_the_cards_that_name_it_and_no_others(path: Path) -> None:
    dashboard = load(path)
    shown = render(path.stem, dashboard, "EUR")
    files = {p.stem: n for n, p in enumerate(FILES, start=1)}
    dashcards = shown.dashcards(numbers_of(shown), files)
    assert len(dashcards) == len(dashboard.cards)
    for card, dashcard in zip(dashboard.cards, dashcards, strict=True):
        named = {p.name for p in dashboard.parameters if f"{{{{{p.name}}}}}" in dashboard.expanded(card.sql)}
        assert {m["parameter_id"] for m in dashcard["parameter_mappings"]} == named
        assert all(
            m["target"] == ["variable", ["template-tag", m["parameter_id"]]] for m in dashcard["parameter_mappings"]
        )
