"""A data folder and the orders in it are in one currency, and what is in another is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from insights.cli import check_shops_currency, up_plan
from insights.settings import PROJECT, Settings
from insights.shop import check_currency, keep_currency
from schemas.errors import Misconfigured

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


def test_a_file_of_orders_in_another_currency_is_refused_with_what_to_set(tmp_path: Path) -> None:
    file = tmp_path / "orders.txt"
    file.touch()
    plan = up_plan(str(file), CDNOW, rate=None, seed=None, daemons=True)
    home = tmp_path / "home"
    check_shops_currency(Settings(home=home, currency="USD"), plan)
    with pytest.raises(Misconfigured, match="are in USD, and this shop's currency is EUR.*set INSIGHTS_CURRENCY=USD"):
        check_shops_currency(Settings(home=home, currency="EUR"), plan)
    assert not home.exists()
