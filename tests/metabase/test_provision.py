"""``insights dashboards apply`` and ``diff`` on a stand-in that checks each request, with a real Postgres behind it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from dashboards.metabase.client import MetabaseAway
from dashboards.metabase.identity import key_of
from insights.cli.dashboard_commands import VALIDATOR
from insights.cli.main import app
from tests.conftest import free_ports, wait_until
from tests.metabase.folders import PASSWORD, USER, Command, a_card, a_dashboard, with_key, written
from tests.metabase.stand_in import API_KEY, StandIn, entity_id


def named(things: Mapping[int, dict[str, Any]], name: str) -> dict[str, Any]:
    """The one of this name that is not in the trash."""
    (found,) = [one for one in things.values() if one["name"] == name and not one["archived"]]
    return found


def changed(command: Command, file: str, change: Any) -> None:
    """A dashboard's file after ``change(document)``."""
    path = command.folder / f"{file}.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.mark.parametrize("changes", [4, 7, 9, 12, 14])
def test_one_that_was_broken_off_is_taken_up_where_it_was_and_nothing_is_double(
    command: Command, metabase: StandIn, changes: int
) -> None:
    metabase.changes_left = changes
    assert command("apply").exit_code == MetabaseAway.exit_code
    metabase.changes_left = None
    command.apply()
    assert len(metabase.databases) == 1
    assert sorted(c["name"] for c in metabase.collections.values()) == ["Cards", "Insights Hub"]
    assert sorted(d["name"] for d in metabase.dashboards.values()) == ["Sales", "Stock"]
    assert len(metabase.cards) == 5
    assert command.apply() == ["Metabase is up to date; nothing was changed."]


def test_a_new_metabase_gets_its_administrator_its_database_and_every_dashboard(
    command: Command, metabase: StandIn
) -> None:
    command.apply()
    assert metabase.users == {USER: PASSWORD}
    assert metabase.zone == "UTC"
    (database,) = metabase.databases.values()
    assert database["details"]["user"] == "metabase_reader"
    above = named(metabase.collections, "Insights Hub")["id"]
    cards = named(metabase.collections, "Cards")["id"]
    assert {d["name"]: d["collection_id"] for d in metabase.dashboards.values()} == {"Sales": above, "Stock": above}
    assert sorted(card["name"] for card in metabase.cards.values()) == [
        *("Level", "Orders", "Regions", "Revenue", "Sales: choices of region"),
    ]
    assert {card["collection_id"] for card in metabase.cards.values()} == {cards}
    assert metabase.sessions == set(), "it has logged out"


def test_a_dashboard_has_its_cards_in_their_places_and_its_filter_on_those_that_name_it(
    command: Command, metabase: StandIn
) -> None:
    command.apply()
    sales = named(metabase.dashboards, "Sales")
    numbers = {card["name"]: card["id"] for card in metabase.cards.values()}
    places = {d["card_id"]: (d["row"], d["col"], d["size_x"], d["size_y"]) for d in sales["dashcards"]}
    assert places == {
        numbers["Orders"]: (0, 0, 24, 3),
        numbers["Revenue"]: (3, 0, 24, 3),
        numbers["Regions"]: (6, 0, 24, 3),
    }
    mapped = {d["card_id"] for d in sales["dashcards"] if d["parameter_mappings"]}
    assert mapped == {numbers["Revenue"], numbers["Regions"]}
    (region,) = sales["parameters"]
    assert region["values_source_config"]["card_id"] == numbers["Sales: choices of region"]
    (click,) = next(d for d in sales["dashcards"] if d["card_id"] == numbers["Regions"])["visualization_settings"][
        "column_settings"
    ].values()
    assert click["click_behavior"]["type"] == "crossfilter"


def test_applied_again_nothing_is_sent_that_changes_anything(command: Command, metabase: StandIn) -> None:
    command.apply()
    metabase.asked.clear()
    assert command.apply() == ["Metabase is up to date; nothing was changed."]
    assert metabase.changes == []


def test_a_diff_of_what_is_there_is_empty_and_ends_well(command: Command, metabase: StandIn) -> None:
    command.apply()
    done = command("diff")
    assert (done.exit_code, done.output.strip()) == (0, "Metabase matches the files.")


def test_a_diff_shows_what_would_change_and_changes_nothing(command: Command, metabase: StandIn) -> None:
    command.apply()
    changed(command, "sales", lambda d: d["cards"][0].update(sql="select 2 as value", title="Orders now"))
    changed(command, "stock", lambda d: d["cards"].append(a_card("cover", at_row=3)))
    before, metabase.asked[:] = deepcopy((metabase.cards, metabase.dashboards)), []
    done = command("diff")
    assert done.exit_code == 1
    assert done.output.splitlines()[:-1] == [
        "update card sales/orders (name, dataset_query)",
        "create card stock/cover",
        "update dashboard Stock (dashcards)",
    ]
    assert metabase.changes == []
    assert (metabase.cards, metabase.dashboards) == before
    assert command.apply() == done.output.splitlines()[:-1]
    assert named(metabase.cards, "Orders now")["dataset_query"]["stages"][0]["native"] == "select 2 as value"


def test_a_diff_on_an_empty_metabase_shows_that_everything_is_new(command: Command, metabase: StandIn) -> None:
    done = command("diff")
    assert done.exit_code == 1
    assert "is not set up yet: `insights dashboards apply` sets it up" in done.stderr
    assert metabase.changes == []


def test_a_diff_of_a_metabase_without_our_things_lists_them_all(command: Command, metabase: StandIn) -> None:
    metabase.users[USER] = PASSWORD
    done = command("diff")
    assert done.exit_code == 1
    assert "create database Insights Hub" in done.output
    assert done.output.count("create card") == 5
    assert metabase.changes == []


def test_what_left_the_files_goes_to_the_trash_and_comes_back_as_the_same(command: Command, metabase: StandIn) -> None:
    command.apply()
    orders, stock = named(metabase.cards, "Orders")["id"], named(metabase.dashboards, "Stock")["id"]
    files = {path.stem: yaml.safe_load(path.read_text()) for path in command.folder.glob("*.yaml")}
    written(command.folder, sales=files["sales"] | {"cards": files["sales"]["cards"][1:]})
    assert command.apply() == [
        "update dashboard Sales (dashcards)",
        "archive dashboard Stock",
        "archive card Orders",
        "archive card Level",
    ]
    assert metabase.cards[orders]["archived"]
    assert metabase.dashboards[stock]["archived"]
    assert orders not in [d["card_id"] for d in named(metabase.dashboards, "Sales")["dashcards"]]
    written(command.folder, **files)
    command.apply()
    assert named(metabase.cards, "Orders")["id"] == orders
    assert [key_of(c["description"]) for c in metabase.cards.values()].count("sales/orders") == 1
    assert named(metabase.dashboards, "Stock")["id"] == stock
    assert command.apply() == ["Metabase is up to date; nothing was changed."]


def test_what_people_made_is_left_as_it_is(command: Command, metabase: StandIn) -> None:
    command.apply()
    sales, orders = named(metabase.dashboards, "Sales"), named(metabase.cards, "Orders")
    theirs = deepcopy(orders) | {"id": next(metabase.numbers), "name": "My orders", "entity_id": entity_id()}
    metabase.cards[theirs["id"]] = theirs
    note = {"id": next(metabase.numbers), "card_id": None, "row": 20, "col": 0, "size_x": 4, "size_y": 2}
    note |= {"visualization_settings": {"virtual_card": {"display": "text"}, "text": "mine"}, "parameter_mappings": []}
    placed = note | {"id": next(metabase.numbers), "card_id": theirs["id"], "row": 22, "visualization_settings": {}}
    sales["dashcards"] += [note, placed]
    copy = deepcopy(sales) | {"id": next(metabase.numbers), "name": "My sales", "entity_id": entity_id()}
    metabase.dashboards[copy["id"]] = copy
    before = deepcopy((theirs, copy))
    changed(command, "sales", lambda d: d["cards"][0]["layout"].update(height=2))
    lines = command.apply()
    assert lines[0] == "update dashboard Sales (dashcards)"
    assert [line.split(":")[1].split(";")[0] for line in lines[1:]] == [
        f" dashboard {copy['id']} (My sales) is a copy of {sales['id']}",
        f" card {theirs['id']} (My orders) is a copy of {orders['id']}",
    ]
    assert (theirs, copy) == before
    kept = {d["id"]: d for d in sales["dashcards"] if d["card_id"] in (None, theirs["id"])}
    assert kept.keys() == {note["id"], placed["id"]}
    assert kept[note["id"]]["visualization_settings"]["text"] == "mine"
    written(command.folder, stock=yaml.safe_load((command.folder / "stock.yaml").read_text()))
    told = command.apply()
    assert not sales["archived"], "there are cards of others on it"
    assert not copy["archived"]
    assert not theirs["archived"]
    assert any("it is kept, because it has other people's cards" in line for line in told)
    command.apply()
    assert (theirs["archived"], copy["archived"]) == (False, False), "nor when it runs again without the files"


def test_manual_changes_to_our_cards_are_reverted_and_reported(command: Command, metabase: StandIn) -> None:
    command.apply()
    orders, sales = named(metabase.cards, "Orders"), named(metabase.dashboards, "Sales")
    orders["visualization_settings"] = {"scalar.field": "other"}
    sales["dashcards"][0]["row"] = 40
    sales["parameters"] = []
    assert command.apply() == [
        "update card sales/orders (visualization_settings)",
        "update dashboard Sales (parameters, dashcards)",
    ]
    assert command.apply() == ["Metabase is up to date; nothing was changed."]


def test_a_tab_that_somebody_made_stays(command: Command, metabase: StandIn) -> None:
    command.apply()
    sales = named(metabase.dashboards, "Sales")
    sales["tabs"] = [{"id": 77, "name": "First"}]
    for dashcard in sales["dashcards"]:
        dashcard["dashboard_tab_id"] = 77
    changed(command, "sales", lambda d: d["cards"].append(a_card("units", at_row=9)))
    command.apply()
    assert [tab["name"] for tab in sales["tabs"]] == ["First"]
    assert {d["dashboard_tab_id"] for d in sales["dashcards"]} == {77}
    assert len(sales["dashcards"]) == 4


def test_collections_that_were_renamed_are_found_again(command: Command, metabase: StandIn) -> None:
    command.apply()
    named(metabase.collections, "Insights Hub")["name"] = "The shop"
    assert command.apply() == ["Metabase is up to date; nothing was changed."]
    named(metabase.collections, "Cards")["description"] = None
    assert command.apply() == ["Metabase is up to date; nothing was changed."]


def test_a_link_leads_to_the_dashboard_with_its_filter_set(command: Command, metabase: StandIn) -> None:
    column = {"column": "name", "title": "Name", "sets": "region", "opens": "sales", "key": "place"}
    linked = a_card("places", kind="table", sql="select 'n' as name, 'north' as place", columns=[column])
    changed(command, "stock", lambda d: d["cards"].append(linked | {"layout": linked["layout"] | {"row": 3}}))
    command.apply()
    (dashcard,) = [d for d in named(metabase.dashboards, "Stock")["dashcards"] if d["visualization_settings"]]
    (setting,) = dashcard["visualization_settings"]["column_settings"].values()
    click = setting["click_behavior"]
    assert (click["linkType"], click["targetId"]) == ("dashboard", named(metabase.dashboards, "Sales")["id"])
    assert click["parameterMapping"]["region"]["source"]["id"] == "place"


def test_a_link_and_a_default_that_left_the_file_leave_metabase(command: Command, metabase: StandIn) -> None:
    choices = [{"title": "North", "value": "north"}, {"title": "South", "value": "south"}]
    region = {"name": "region", "title": "Region", "choices": choices}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in command.folder.glob("*.yaml")}
    files["sales"]["cards"][1]["sql"] = "select 5 as value [[where {{region}} <> '']]"
    files["sales"]["parameters"] = [region | {"default": "north"}]
    written(command.folder, **files)
    command.apply()
    files["sales"]["cards"][2]["columns"] = [{"column": "region", "title": "Region"}]
    files["sales"]["parameters"] = [region | {"all": "All regions"}]
    written(command.folder, **files)
    assert "update dashboard Sales (parameters, dashcards)" in command.apply()
    sales = named(metabase.dashboards, "Sales")
    assert "default" not in sales["parameters"][0]
    assert not any(dashcard["visualization_settings"] for dashcard in sales["dashcards"])
    assert command.apply() == ["Metabase is up to date; nothing was changed."]


def test_a_key_is_enough_where_metabase_is_set_up(command: Command, metabase: StandIn) -> None:
    metabase.users["somebody@else.example"] = "another password"
    done = CliRunner().invoke(app, ["dashboards", "apply", "--folder", str(command.folder)], env=with_key(command))
    assert done.exit_code == 0, done.output
    assert metabase.zone == "Europe/Vienna", "a Metabase of others keeps its time zone"
    assert "shows times in Europe/Vienna" in done.output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"metabase_password": "not the one"}, f"Metabase rejected the login of {USER}"),
        ({"metabase_api_key": "mb_no_key"}, "rejected these credentials (Unauthenticated); check the API key"),
        ({"metabase_url": "http://127.0.0.1:9"}, "no Metabase responds at http://127.0.0.1:9/"),
        ({"metabase_postgres": "127.0.0.1:9"}, "can't reach Postgres at 127.0.0.1:9 as metabase_reader"),
    ],
)
def test_an_error_names_the_problem_and_the_setting(
    command: Command, metabase: StandIn, environment: dict[str, str], said: str
) -> None:
    metabase.users[USER] = PASSWORD
    done = command("apply", **environment)
    assert done.exit_code == (MetabaseAway.exit_code if said.startswith("no Metabase") else 1)
    assert said in done.stderr
    (setting,) = environment
    assert f"INSIGHTS_{setting.upper()}" in done.stderr or "check the API key" in done.stderr


def test_a_password_that_metabase_finds_too_common_is_reported_in_its_words(
    command: Command, metabase: StandIn
) -> None:
    done = command("apply", metabase_password="short")
    assert done.exit_code == 1
    assert "password is too common" in done.stderr
    assert metabase.users == {}


def test_an_old_metabase_is_refused(command: Command, metabase: StandIn) -> None:
    metabase.version = "v0.55.3"
    assert "this is Metabase v0.55.3, and 58 is the oldest" in command("apply").stderr


def test_a_metabase_that_still_starts_is_to_be_asked_again(command: Command, metabase: StandIn) -> None:
    metabase.starting = True
    assert "it may still be starting, try again in a minute" in command("apply").stderr


def test_without_a_place_or_a_password_for_the_reader_it_names_the_setting(command: Command) -> None:
    del command.environment["INSIGHTS_METABASE_READER_PASSWORD"]
    assert "INSIGHTS_METABASE_READER_PASSWORD is not set" in command("apply").stderr
    del command.environment["INSIGHTS_METABASE_URL"]
    assert "give --url or INSIGHTS_METABASE_URL" in command("apply").stderr


def test_postgres_that_moved_is_reached_at_its_new_place_and_by_its_new_password(
    command: Command, metabase: StandIn, bare_postgres: str
) -> None:
    command.apply()
    port = psycopg.conninfo.conninfo_to_dict(bare_postgres)["port"]
    assert command("apply", metabase_postgres=f"localhost:{port}").output.startswith(
        "update database Insights Hub (details.host)"
    )
    done = command("apply", metabase_postgres=f"localhost:{port}", metabase_reader_password="another one")
    assert done.output.startswith("update database Insights Hub (details.password)")
    gone = command("apply", metabase_postgres="127.0.0.1:9", metabase_reader_password="another one")
    assert "can't reach Postgres at 127.0.0.1:9 as metabase_reader" in gone.stderr
    assert len(metabase.databases) == 1


def test_a_port_where_something_else_answers_is_no_metabase(command: Command) -> None:
    (port,) = free_ports(1)
    with subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(command.folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: "no Metabase responds" not in command("apply", metabase_url=address).stderr)
        assert "refused GET /api/session/properties (404)" in command("apply", metabase_url=address).stderr
        server.terminate()


VENDOR_READS = [
    ("card", "get", "CARD", "--full", "--json"),
    ("dashboard", "get", "DASHBOARD", "--full", "--json"),
    ("collection", "items", "COLLECTION", "--json"),
    ("database", "list", "--json"),
    ("card", "list", "--json"),
]


@pytest.mark.parametrize("arguments", VENDOR_READS, ids=lambda a: " ".join(a[:2]))
def test_the_vendors_own_command_line_can_read_what_the_stand_in_answers(
    command: Command, metabase: StandIn, arguments: tuple[str, ...]
) -> None:
    """So what the stand-in keeps has the shape that Metabase's own client expects of Metabase."""
    command.apply()
    places = {
        "CARD": named(metabase.cards, "Orders")["id"],
        "DASHBOARD": named(metabase.dashboards, "Sales")["id"],
        "COLLECTION": named(metabase.collections, "Cards")["id"],
    }
    environment = {"MB_URL": metabase.url, "MB_API_KEY": API_KEY, "MB_CLI_DISABLE_KEYRING": "1"}
    done = subprocess.run(
        [VALIDATOR / "mb", *(str(places.get(one, one)) for one in arguments)],
        env={**environment, "MB_CLI_SKIP_PREFLIGHT": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Orders" in done.stdout or arguments[0] in ("database", "dashboard")


def test_every_card_that_is_made_runs_as_the_reader(command: Command, metabase: StandIn) -> None:
    command.apply()
    for number, card in metabase.cards.items():
        done = metabase.answer("POST", f"/card/{number}/query", {}, {"ignore_cache": False}, {"x-api-key": API_KEY})
        assert done["status"] == "completed", (card["name"], done)


def test_dashboards_without_cards_of_a_kind_are_no_reason_to_stop(command: Command, metabase: StandIn) -> None:
    written(command.folder, only=a_dashboard())
    assert command.apply()[-1] == "create card only/orders"
