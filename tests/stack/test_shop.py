"""A data folder and the orders in it are in one currency, and what is in another is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from insights.cli.main import check_shops_currency, up_plan
from insights.settings import PROJECT, Settings
from insights.shop_currency import check_currency, keep_currency
from insights.stack.composition import UpPlan, everything, further_sources
from insights.stack.part import Part
from producers.sources import SOURCES, source
from schemas.errors import Misconfigured, RowsRefused

CDNOW = PROJECT / "producers" / "mappings" / "cdnow.toml"


def test_a_data_folder_keeps_its_currency(tmp_path: Path) -> None:
    euros = Settings(home=tmp_path / "home", currency="EUR")
    check_currency(euros)
    keep_currency(euros)
    keep_currency(euros)
    dollars = Settings(home=euros.home, currency="USD")
    with pytest.raises(Misconfigured, match="is in EUR, and INSIGHTS_CURRENCY is USD.*Set INSIGHTS_CURRENCY=EUR"):
        keep_currency(dollars)
    check_currency(euros)


def test_only_an_order_file_has_an_end(tmp_path: Path) -> None:
    """Whether all its rows count or some were refused: it is read to its end, and not started again."""
    file, settings = tmp_path / "orders.txt", Settings(home=tmp_path / "home", currency="USD")
    file.touch()
    plans = [UpPlan(), up_plan(str(file), CDNOW, rate=None, seed=None, daemons=True)]
    parts = [part for plan in plans for part in everything(settings, plan) if isinstance(part, Part)]
    assert {part.name: set(part.ends) for part in parts if part.ends} == {"orders": {0, RowsRefused.exit_code}}


def test_the_shop_and_the_scraper_of_its_pages_have_the_same_past_and_a_file_has_none_of_either(tmp_path: Path) -> None:
    file, settings = tmp_path / "orders.txt", Settings(home=tmp_path / "home", currency="USD")
    file.touch()

    def histories(plan: UpPlan) -> dict[str, str]:
        commands = {part.name: list(part.command) for part in everything(settings, plan) if isinstance(part, Part)}
        return {name: c[c.index("--history") + 1] for name, c in commands.items() if "--history" in c}

    assert histories(UpPlan()) == {"shop-events": "63d", "catalog": "63d"}
    assert histories(UpPlan(history="12h")) == {"shop-events": "12h", "catalog": "12h"}
    assert histories(up_plan(str(file), CDNOW, rate=None, seed=None, daemons=True)) == {}


def test_a_file_of_orders_in_another_currency_is_refused_with_what_to_set(tmp_path: Path) -> None:
    file = tmp_path / "orders.txt"
    file.touch()
    plan = up_plan(str(file), CDNOW, rate=None, seed=None, daemons=True)
    home = tmp_path / "home"
    check_shops_currency(Settings(home=home, currency="USD"), plan)
    with pytest.raises(Misconfigured, match="are in USD, but this shop's currency is EUR.*set INSIGHTS_CURRENCY=USD"):
        check_shops_currency(Settings(home=home, currency="EUR"), plan)
    assert not home.exists()


def test_a_source_that_the_stack_runs_by_its_line_has_its_options_and_a_port_of_its_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", sources_metrics_port=20500)
    lines = [
        replace(source("stock"), in_stack=("--rate", "2")),
        source("orders"),
        replace(source("customers"), in_stack=()),
    ]
    stock, customers = further_sources(settings, lines)
    assert stock.command[-4:] == ["--metrics-port", "20500", "--rate", "2"]
    assert stock.endpoint == "http://127.0.0.1:20500/metrics"
    assert (customers.name, customers.endpoint) == ("customers", "http://127.0.0.1:20501/metrics")


def test_no_two_parts_of_the_stack_have_one_name(tmp_path: Path) -> None:
    parts = everything(Settings(home=tmp_path / "home"), UpPlan())
    assert len({part.name for part in parts}) == len(parts)
    assert not {s.name for s in SOURCES if s.in_stack is not None} & {"shop", "catalog", "orders"}
