from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dashboards.cards import GRID_COLUMNS
from dashboards.folder import Folder
from dashboards.layout import bands
from dashboards.model import Dashboard, load
from dashboards.query import question
from schemas.errors import Misconfigured

FOLDER = Path(__file__).parents[2] / "dashboards"
FILES = sorted(FOLDER.glob("*.yaml"))


REGION = {"name": "region", "title": "Region", "all": "All regions", "choices": [{"title": "Europe", "value": "EU"}]}


def a_card(**changes: Any) -> dict[str, Any]:
    card = {
        "id": "orders",
        "kind": "number",
        "title": "Orders",
        "sql": "select 1 as value",
        "layout": {"row": 0, "col": 0, "width": 6, "height": 3},
    }
    return card | changes


def a_dashboard(*cards: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"title": "Test", "refresh_seconds": 2, "cards": list(cards) or [a_card()]} | changes


def refusal(tmp_path: Path, document: Any) -> str:
    path = tmp_path / "broken.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    with pytest.raises(Misconfigured) as refused:
        load(path)
    text = str(refused.value)
    assert str(path) in text
    return text.replace(f"{path}: ", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_dashboard_here_is_valid_and_lies_within_the_grid(path: Path) -> None:
    dashboard = load(path)
    for band in bands(dashboard.cards):
        assert sum(column.width for column in band.columns) == GRID_COLUMNS
    drawn = [card.id for band in bands(dashboard.cards) for column in band.columns for card in column.cards]
    assert sorted(drawn) == sorted(card.id for card in dashboard.cards)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (a_dashboard(a_card(layout={"row": 0, "col": 20, "width": 6, "height": 3})), "col 20 and width 6 end at 26"),
        (a_dashboard(a_card(colour="red")), "card orders, field colour: is not a field here"),
        (a_dashboard(a_card(kind="pie")), "card orders: field kind is unknown; use one of number"),
        (a_dashboard({"id": "x"}), "card x: field kind is missing; add it"),
        (a_dashboard(a_card(), a_card()), "card orders, field id: another card has the same id; rename one"),
        (a_dashboard(a_card(), a_card(id="b")), "card b, field layout: it overlaps card orders; move one"),
        (a_dashboard(a_card(sql="delete from live.sessions")), "card orders, field sql: is not a query"),
        (a_dashboard(a_card(sql="select 1; select 2")), "card orders, field sql: has a semicolon"),
        (
            a_dashboard(a_card(sql="select {{span}}")),
            "card orders, field sql: {{span}} names no parameter; there are: none",
        ),
        (a_dashboard(a_card(sql="select {{snippet: x}}")), "{{snippet: x}} names no snippet; there are: none"),
        (a_dashboard(snippets={"x": "1"}), "snippet x: no SQL uses it; remove it"),
        (a_dashboard(refresh_seconds=0), "field refresh_seconds: input should be greater than or equal to 0.5"),
        (
            a_dashboard(a_card(kind="table", columns=[{"column": "run", "title": "Run", "sets": "run"}])),
            "card orders, field columns.run.sets: run names no parameter; there are: none",
        ),
        (
            a_dashboard(parameters=[{"name": "run", "title": "Run"}]),
            "parameter run: give either 'choices' or 'choices_sql'",
        ),
        (
            a_dashboard(
                a_card(sql="select {{run}}"),
                parameters=[{"name": "run", "title": "Run", "choices_sql": "select 1", "default": "r1"}],
            ),
            "parameter run: the first row of 'choices_sql' is the default; remove 'default'",
        ),
        (
            a_dashboard(
                a_card(sql="select {{run}}"),
                parameters=[{"name": "run", "title": "Run", "choices_sql": "delete from ops.replays"}],
            ),
            "parameter run, field choices_sql: is not a query",
        ),
        (
            a_dashboard(a_card(sql="select {{region}}"), parameters=[REGION]),
            "card orders, field sql: {{region}} may have no value; write it in an optional clause, [[and",
        ),
        (a_dashboard(a_card(sql="select 1 [[and {{x}}")), "card orders, field sql: has a [[ that no ]] closes"),
        (
            a_dashboard(a_card(sql="select 1 [[and 2]]")),
            "field sql: has an optional clause without a parameter: [[and 2]]",
        ),
        (
            a_dashboard(a_card(sql="select 1 [[and {{x}} [[or {{y}}]] ]]")),
            "card orders, field sql: has an optional clause inside another",
        ),
        (
            a_dashboard(a_card(sql="select 1 [[{{region}}]]"), parameters=[REGION | {"default": "EU"}]),
            "parameter region: the choice of 'all' is the default; remove 'default' or 'all'",
        ),
        (
            a_dashboard(a_card(kind="table", columns=[{"column": "run", "title": "Run", "opens": "replays"}])),
            "card orders, field columns.0: 'opens' and 'key' say where 'sets' leads; add 'sets'",
        ),
        (
            a_dashboard(a_card(reads=["sales.order"])),
            "card orders, field reads: sales.order is no topic whose freshness a contract states; there are: catalog.",
        ),
        (
            a_dashboard(a_card(sql="select a from live.x where (b = 1")),
            "field sql: can't be read as SQL of Postgres, in",
        ),
        (a_dashboard(a_card(sql="select 'a from live.x")), "card orders, field sql: can't be read as SQL of Postgres"),
        ({"title": "Test", "refresh_seconds": 2}, "field cards: is missing; add it"),
        ("just a text", "is not a mapping"),
        ("cards: [", "is not YAML"),
    ],
)
def test_a_mistake_is_refused_naming_card_field_and_what_to_do(tmp_path: Path, document: Any, said: str) -> None:
    assert said in refusal(tmp_path, document)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"gone\.yaml: can't be read"):
        load(tmp_path / "gone.yaml")


def test_snippets_may_hold_snippets_but_no_circle() -> None:
    card = a_card(sql="select {{snippet: outer}}")
    nested = Dashboard.model_validate(a_dashboard(card, snippets={"outer": "{{snippet: inner}} + 1", "inner": "2"}))
    assert nested.expanded(nested.cards[0].sql) == "select 2 + 1"
    with pytest.raises(ValidationError, match="card orders, field sql: snippets contain each other; break the cycle"):
        Dashboard.model_validate(a_dashboard(card, snippets={"outer": "{{snippet: outer}}"}))


def test_an_optional_clause_is_left_out_while_a_parameter_in_it_has_no_value() -> None:
    sql = "select 1 where true [[and region = {{region}}]] [[and c = {{category}} and r = {{region}}]]"
    both = question(sql, {"region": "EU", "category": "x"})
    assert both.sql == "select 1 where true and region = %(region)s and c = %(category)s and r = %(region)s"
    assert question(sql, {"region": "EU", "category": ""}).sql == "select 1 where true and region = %(region)s "
    assert question(sql, {"region": "", "category": "x"}) == question(sql, {})
    assert question(sql, {}).values == ()


def test_what_a_card_reads_is_what_its_sql_names_in_any_of_its_parts() -> None:
    sql = """
        with {{snippet: sold}} -- not live.sessions
        select 'not live.funnel_per_hour' as value, versions.since from marts.daily_sales
        left join ops.versions as versions on true [[where region = {{region}} and 1 in (select 1 from events.refunds)]]
    """
    trend = "select x.live.value, 1 as at from snapshots.products as x"
    card = a_card(sql=sql, trend_sql=trend)
    sold = "sold as (select * from live.sales_per_minute)"
    dashboard = Dashboard.model_validate(a_dashboard(card, snippets={"sold": sold}, parameters=[REGION]))
    assert dashboard.relations(dashboard.cards[0]) == (
        "events.refunds",
        "live.sales_per_minute",
        "marts.daily_sales",
        "ops.versions",
        "snapshots.products",
    )


def test_a_parameter_is_passed_next_to_the_sql_and_never_inside_it() -> None:
    asked = question("select {{range}} like '5%'", {"range": "1'; drop table x", "other": "y"})
    assert asked.sql == "select %(range)s like '5%%'"
    assert asked.values == (("range", "1'; drop table x"),)


def test_cards_of_one_column_stand_one_above_the_other() -> None:
    tall = a_card(id="tall", layout={"row": 0, "col": 0, "width": 16, "height": 6})
    upper = a_card(id="upper", layout={"row": 0, "col": 16, "width": 8, "height": 3})
    lower = a_card(id="lower", layout={"row": 3, "col": 16, "width": 8, "height": 3})
    below = a_card(id="below", layout={"row": 6, "col": 4, "width": 8, "height": 3})
    found = bands(Dashboard.model_validate(a_dashboard(below, lower, upper, tall)).cards)
    ids = [[[card.id for card in column.cards] for column in band.columns] for band in found]
    assert ids == [[["tall"], ["upper", "lower"]], [[], ["below"], []]]


def test_a_folder_has_the_first_dashboard_and_all_next_to_it(tmp_path: Path) -> None:
    for name, place in (("marts", 2), ("first", 9), ("books", 3), ("late", 2)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(a_dashboard(title=f"The {name}", place=place)))
    folder = Folder(tmp_path / "first.yaml")
    titles = {"first": "The first", "late": "The late", "marts": "The marts", "books": "The books"}
    assert list(folder.titles().items()) == list(titles.items())
    assert (folder.chosen(None), folder.chosen("marts")) == ("first", "marts")
    with pytest.raises(Misconfigured, match="no dashboard is named 'mart'; there are: first, late, marts, books"):
        folder.chosen("mart")


def test_a_dashboard_with_a_mistake_keeps_its_place_and_is_reloaded_when_fixed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stock_moves.yaml"
    path.write_text("cards: [")
    folder = Folder(path)
    assert folder.titles() == {"stock_moves": "Stock moves"}
    with pytest.raises(Misconfigured, match="is not YAML"):
        folder.dashboard("stock_moves")
    path.write_text(yaml.safe_dump(a_dashboard(title="Mended")))
    assert folder.titles() == {"stock_moves": "Mended"}
