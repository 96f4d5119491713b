"""``insights connect shopify``: a shop beside another one in a running stack, and what is wrong said at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest
from typer.testing import Result

from insights.cli.main import app
from insights.settings import Settings
from producers.connect.connections import name_of, names
from producers.connect.memory import progress
from tests.conftest import wait_until
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce
from tests.stack.test_connect import RUNNER, SALES, files_with, key_file, run, settings, shop

__all__ = ["run", "settings", "shop"]  # fixtures


def app_file(shop: Shopify, folder: Path) -> str:
    path = folder / "app"
    path.write_text(f"{shop.client_id} {shop.client_secret}\n")
    return str(path)


def test_a_shopify_shop_beside_a_woocommerce_one_has_its_own_totals_and_both_agree(
    shop: WooCommerce, stack: Settings, stack_environment: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    for variable, value in stack_environment.items():
        monkeypatch.setenv(variable, value)
    one, other = (f"shop-{uuid.uuid4().hex[:12]}" for _ in range(2))
    begin = f"{shop.now - timedelta(days=1):%Y-%m-%d}"
    for i in range(10):
        shop.place(at=shop.now - timedelta(minutes=5 * i))
    outputs = []
    with Shopify().serving() as shopify:
        placed = [shopify.place(at=shopify.now - timedelta(minutes=300 - 3 * i)) for i in range(40)]
        for order in placed[::5]:
            shopify.refund(order)
        shopify.edit(placed[1])
        shopify.cancel(placed[2])
        keys = {"woocommerce": key_file(shop, tmp_path), "shopify": app_file(shopify, tmp_path)}
        for platform, name, url in (("woocommerce", one, shop.url), ("shopify", other, shopify.url)):
            asked = ["connect", platform, "--url", url, "--credentials", keys[platform], "--name", name]
            outputs.append(RUNNER.invoke(app, [*asked, "--from", begin]))
        try:
            assert [each.exit_code for each in outputs] == [0, 0], [each.output for each in outputs]
            wait_until(
                lambda: all(progress(stack.producers_dir, name).is_history_done for name in (one, other)),
                what="both histories are read",
            )
            with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:

                def is_all_there() -> bool:
                    found = {day: (n, total) for day, n, total in connection.execute(SALES, (f"{other}-%",))}
                    days = shopify.days().items()
                    wanted = {day: (sums.orders, Decimal(sums.gross - sums.discount) / 100) for day, sums in days}
                    return found == {day: sums for day, sums in wanted.items() if sums[0]}

                wait_until(is_all_there, what="the tables have the shop's own totals")
                delivery = shopify.delivery(shopify.place(is_test=False, lines=2), "orders/create")
                url = f"{stack.hooks_url}/hooks/shopify/{other}"
                began = time.monotonic()
                with urlopen(Request(url, delivery.body, delivery.headers, method="POST")) as answer:
                    assert answer.status == 200
                answered = time.monotonic()
                wait_until(is_all_there, what="the delivery is in the tables", every=0.02)
                print(f"answered after {answered - began:.3f} s, in the table after {time.monotonic() - began:.3f} s")
            for name in (one, other):
                wait_until(
                    lambda name=name: RUNNER.invoke(app, ["agree", name]).exit_code == 0,  # type: ignore[misc]
                    what=f"{name} agrees",
                    every=0.5,
                )
            shopify.edit(placed[4])  # and no delivery of any of this arrives
            shopify.refund(placed[6])
            shopify.delete(placed[7])
            apart = RUNNER.invoke(app, ["agree", other])
            assert (apart.exit_code, f"{other} does not agree" in apart.stdout) == (1, True), apart.output
            repaired = RUNNER.invoke(app, ["agree", other, "--repair"])
            assert repaired.exit_code == 0, repaired.output
            assert "after: 0 differ, 0 pending." in " ".join(repaired.stdout.split())
        finally:
            outputs += [RUNNER.invoke(app, ["connect", "remove", name]) for name in (one, other)]
    assert files_with(stack.home, shopify.client_secret, *shopify.tokens) == []
    assert not any(shopify.client_secret in each.output for each in outputs)


@pytest.mark.parametrize(
    ("arguments", "key", "reason"),
    [
        (("--url", "https://www.bikes.example"), "", "is not a shop's own address at Shopify"),
        ((), "one-word", "give the client ID and the secret of the app"),
        ((), "id shpss_wrong", "does not accept the client ID and secret"),
        (("--from", "2020-01-01"), "", "the orders of the last 60 days only, and 2020-01-01 is before"),
    ],
)
def test_what_is_wrong_with_a_shopify_shop_is_said_at_once_and_nothing_is_kept(
    arguments: tuple[str, ...], key: str, reason: str, run: Callable[..., Result], settings: Settings
) -> None:
    with Shopify().serving() as shopify:
        shopify.scopes.remove("read_all_orders")
        given = {"--url": shopify.url, **dict(zip(arguments[::2], arguments[1::2], strict=True))}
        words = [word for pair in given.items() for word in pair]
        since = [] if "--from" in given else ["--from", f"{shopify.now:%Y-%m-%d}"]
        said = key or f"{shopify.client_id} {shopify.client_secret}"
        refused = run("connect", "shopify", *words, *since, "--credentials", "-", input=said)
    assert refused.exit_code == 1
    assert reason in " ".join(refused.stderr.split())
    assert "shpss_" not in refused.output
    assert names(settings.producers_dir) == []


def test_a_shopify_shop_takes_three_answers_and_says_where_its_webhooks_go(
    run: Callable[..., Result], settings: Settings
) -> None:
    with Shopify().serving() as shopify:
        answers = f"{shopify.url}\n{shopify.client_id} {shopify.client_secret}\n\n"
        connected = run("connect", "shopify", "--hooks", "https://hooks.bikes.example/", input=answers)
        assert connected.exit_code == 0, connected.output
        (uri,) = {hook["uri"] for hook in shopify.hooks}
    assert uri == f"https://hooks.bikes.example/hooks/shopify/{name_of(shopify.url)}"
    said = " ".join(connected.stdout.split())
    assert f"Shopify sends changes of orders, products and customers to {uri}" in said
    assert shopify.client_secret not in connected.output
    assert names(settings.producers_dir) == [name_of(shopify.url)]


def test_a_shopify_shop_that_is_removed_sends_no_more_webhooks_and_one_that_is_away_is_removed_all_the_same(
    run: Callable[..., Result], settings: Settings
) -> None:
    with Shopify().serving() as shopify:
        name = name_of(shopify.url)
        answers = f"{shopify.url}\n{shopify.client_id} {shopify.client_secret}\n\n"
        assert run("connect", "shopify", "--hooks", "https://hooks.bikes.example", input=answers).exit_code == 0
        number = len(shopify.hooks)
        assert number > 5
        removed = run("connect", "remove", name)
        assert removed.exit_code == 0, removed.output
        assert f"{number} webhooks of the shop deleted." in removed.stdout
        assert shopify.hooks == []
        again = run("connect", "shopify", "--hooks", "https://hooks.bikes.example", input=answers)
        assert again.exit_code == 0, again.output
    away = run("connect", "remove", name)
    assert away.exit_code == 0, away.output
    assert "Webhooks may be left in the shop:" in " ".join(away.stdout.split())
    assert names(settings.producers_dir) == []
