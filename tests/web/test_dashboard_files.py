from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.folder import Folder
from dashboards.layout import bands
from dashboards.model import GRID_COLUMNS, Dashboard, load
from dashboards.query import question
from schemas.errors import Misconfigured

FOLDER = Path(__file__).parents[2] / "dashboards"
FILES = sorted(FOLDER.glob("*.yaml"))


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
        (a_dashboard(a_card(kind="pie")), "card orders: field kind is none of the kinds there are; use one of number"),
        (a_dashboard({"id": "x"}), "card x: field kind is missing; add it"),
        (a_dashboard(a_card(), a_card()), "card orders, field id: another card has it; rename one"),
        (a_dashboard(a_card(), a_card(id="b")), "card b, field layout: it covers cells of card orders; move one"),
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
        (a_dashboard(parameters=[{"name": "run", "title": "Run"}]), "parameter run: its list is in 'choices' or comes"),
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
        ({"title": "Test", "refresh_seconds": 2}, "field cards: is missing; add it"),
        ("just a text", "holds no mapping"),
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
    circle = Dashboard.model_validate(a_dashboard(card, snippets={"outer": "{{snippet: outer}}"}))
    with pytest.raises(Misconfigured, match="break the circle"):
        circle.expanded(circle.cards[0].sql)


def test_a_parameter_goes_beside_the_sql_and_never_into_it() -> None:
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


def test_a_folder_has_the_first_dashboard_and_all_beside_it(tmp_path: Path) -> None:
    for name in ("marts", "first", "books"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(a_dashboard(title=f"The {name}")))
    folder = Folder(tmp_path / "first.yaml")
    assert folder.titles() == {"first": "The first", "books": "The books", "marts": "The marts"}
    assert (folder.chosen(None), folder.chosen("marts")) == ("first", "marts")
    with pytest.raises(Misconfigured, match="there is no dashboard 'mart' here; there are: first, books, marts"):
        folder.chosen("mart")


def test_a_dashboard_with_a_mistake_keeps_its_place_among_the_others_and_one_that_is_mended_is_read_anew(
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
