"""``insights connect``: a real shop's orders in a running stack, and what is wrong said at once."""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from alerts.postgres import connect as alerts_connection
from alerts.rule import read_rules
from alerts.watch import look
from dashboards.model import load
from dashboards.query import question
from insights.cli.connect_commands import credentials_of
from insights.cli.main import app, with_connections
from insights.settings import PROJECT, Settings
from insights.stack.composition import Part, UpPlan, everything
from insights.stack.past import Past
from insights.stack.process_record import read_state
from insights.stack.states import part_states
from producers.connect.asking import ShopAway
from producers.connect.connections import KEYS_FILE, Connections, Credentials, name_of, names
from producers.connect.memory import FILE, Memory, Position, progress
from producers.shop.shop_state import Cursor, ShopState
from schemas.errors import Misconfigured
from tests.conftest import environment_of, wait_until
from tests.shops.woocommerce import WooCommerce

RUNNER = CliRunner()
OPENS = Credentials(key="ck_key", secret="cs_secret", webhook_secret="hook")
SALES = """
select to_char(occurred_at, 'YYYY-MM-DD'), count(distinct order_id), sum(sales_amount)
from events.order_lines where order_id like %s group by 1
"""


@pytest.fixture
def shop() -> Iterator[WooCommerce]:
    with WooCommerce().serving() as serving:
        yield serving


@pytest.fixture
def settings(tmp_path: Path, apart: Callable[..., Settings]) -> Settings:
    return apart(tmp_path / "home")


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `insights` where no stack is up."""
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **more: RUNNER.invoke(app, list(arguments), **more)


def key_file(shop: WooCommerce, folder: Path) -> str:
    path = folder / "key"
    path.write_text(f"{shop.consumer_key}\n{shop.consumer_secret}\n")
    return str(path)


def files_with(folder: Path, *texts: str) -> list[tuple[Path, str]]:
    """Files under a folder that hold one of the texts, however they are written."""
    found = []
    for path in (each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()):
        try:
            content = path.read_bytes()
        except OSError:  # a server tidied it away
            continue
        found += [(path, text) for text in texts if text.encode() in content]
    return found


def beside(connection: Any, url: str, name: str) -> tuple[Any, ...]:
    """What the tables have of the shop's products, stock and customers."""
    prices = connection.execute(
        "select product_id, price from events.product_observations where shop = %s order by product_id",
        (url.removeprefix("http://"),),
    ).fetchall()
    levels = connection.execute(
        "select product_id, sum(net_change) from live.stock_moves_per_hour where warehouse = %s group by 1 order by 1",
        (name,),
    ).fetchall()
    people = connection.execute(
        "select distinct on (customer_id) customer_id, region, name_encrypted from events.customers"
        " where customer_id like %s order by customer_id, occurred_at desc",
        (f"{name}-%",),
    ).fetchall()
    return prices, levels, people


def there(shop: WooCommerce, name: str) -> tuple[Any, ...]:
    """The same, as the shop has it."""
    prices = sorted((product_id, Decimal(price) / 100) for product_id, price in shop.prices().items())
    people = [(f"{name}-{each.id}", each.country or "unknown", None) for each in shop.customers.values()]
    return prices, sorted(shop.levels().items()), people


def compared(stack: Settings, name: str) -> list[tuple[Any, ...]]:
    """What was recorded of a shop's comparisons."""
    with psycopg.connect(stack.postgres_dsn) as postgres:
        return postgres.execute(
            "select result, orders, different, pending from ops.agreement_runs where shop = %s order by compared_at",
            (name,),
        ).fetchall()


def disagreeing(stack: Settings) -> list[str]:
    """What the alert rule finds."""
    (rule,) = [rule for rule in read_rules().rules if rule.name == "shop_disagrees"]
    with alerts_connection(stack.postgres_dsn, read_only=True) as postgres:
        return [finding.text for finding in look(postgres, rule, datetime.now(UTC)).found]


def shown(stack: Settings, name: str) -> tuple[str, str]:
    """What the page's list of shops says of one."""
    dashboard = load(PROJECT / "dashboards" / "agreement.yaml")
    (card,) = [card for card in dashboard.cards if card.id == "shops"]
    asked = question(dashboard.expanded(card.sql), {"shop": name})
    with psycopg.connect(stack.postgres_dsn, row_factory=dict_row) as postgres:
        (row,) = postgres.execute(asked.sql.encode(), dict(asked.values)).fetchall()
    return row["result"], row["said"]


def test_a_connected_shop_is_on_the_page_and_its_deliveries_follow_within_seconds(
    shop: WooCommerce, stack: Settings, stack_environment: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    for variable, value in stack_environment.items():
        monkeypatch.setenv(variable, value)
    name, guest = f"shop-{uuid.uuid4().hex[:12]}", f"{uuid.uuid4().hex}@mail.example"
    begin = shop.now - timedelta(hours=5)
    placed = [shop.place(at=begin + timedelta(minutes=3 * i), customer_id=0, email=guest) for i in range(40)]
    shop.place(status="pending")
    offered = [shop.offer(variations=0), shop.offer(variations=0)]
    offered[0].own.stock, offered[1].own.stock = 7, 12
    customer = shop.register()
    asked = ["connect", "woocommerce", "--url", shop.url, "--credentials", key_file(shop, tmp_path), "--name", name]
    connected = RUNNER.invoke(app, [*asked, "--from", f"{begin - timedelta(days=1):%Y-%m-%d}"])
    try:
        assert connected.exit_code == 0, connected.output
        assert f"Bikes & more is connected as {name}. It has 41 orders" in connected.stdout
        url, secret = re.findall(r"^ +(?:Delivery URL|Secret) +(\S+)$", connected.stdout, re.MULTILINE)
        assert url == f"{stack.hooks_url}/hooks/woocommerce/{name}"
        shop.webhook_secret = secret
        wait_until(lambda: progress(stack.producers_dir, name).is_history_done, what="its history is read")
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:

            def sales() -> dict[str, tuple[int, Decimal]]:
                return {day: (n, total) for day, n, total in connection.execute(SALES, (f"{name}-%",))}

            def truth() -> dict[str, tuple[int, Decimal]]:
                days = shop.days().items()
                return {day: (sums.orders, Decimal(sums.gross - sums.discount) / 100) for day, sums in days}

            wait_until(lambda: sales() == truth(), what="the tables have the shop's own totals")
            moved = shop.customer_delivery(shop.move(customer))  # it says the name and the e-mail
            with urlopen(Request(url, moved.body, moved.headers, method="POST")) as answer:
                assert answer.status == 200
            wait_until(lambda: beside(connection, shop.url, name) == there(shop, name), what="so have those beside")
            shop.now += timedelta(seconds=int(time.time() - shop.now.timestamp()))
            delivery, began = shop.delivery(shop.place()), time.monotonic()
            with urlopen(Request(url, delivery.body, delivery.headers, method="POST")) as answer:
                assert answer.status == 200
            answered = time.monotonic()
            wait_until(lambda: sales() == truth(), what="the delivery is in the tables", every=0.02)
            print(f"answered after {answered - began:.3f} s, in the table after {time.monotonic() - began:.3f} s")
        wait_until(lambda: compared(stack, name), seconds=150, what="the stack compared the shop by itself", every=0.5)
        agreed = RUNNER.invoke(app, ["agree", name])
        assert agreed.exit_code == 0, agreed.output
        assert f"{name} agrees: 41 orders placed since" in agreed.stdout
        edited, trashed, refunded = placed[7:10]
        edited.fee += 100
        edited.modified = shop.now - timedelta(hours=2)  # and no delivery of any of this arrives
        shop.trash(trashed)
        shop.refund(refunded)
        apart = RUNNER.invoke(app, ["agree", name])
        assert apart.exit_code == 1
        assert f"{name} does not agree: 2 orders of 41" in " ".join(apart.stdout.split())
        assert re.search(rf"^ *{edited.id} +sales ", apart.stdout, re.MULTILINE)
        assert compared(stack, name)[-1] == ("different", 41, 2, 1)
        (finding,) = disagreeing(stack)
        assert f"{name}: 2 of 41 orders differ from the shop's own" in finding
        repaired = RUNNER.invoke(app, ["agree", name, "--repair"])
        assert repaired.exit_code == 0, repaired.output
        said = " ".join(repaired.stdout.split())
        assert (
            "3 orders were read from the shop again. Before: 2 differ, 1 pending; after: 0 differ, 0 pending." in said
        )
        assert f"{name} agrees: 40 orders placed since" in said
        assert (disagreeing(stack), compared(stack, name)[-1]) == ([], ("equal", 40, 0, 0))
        assert shown(stack, name) == ("equal", "Every order is equal on both sides, to the cent")
        listed = RUNNER.invoke(app, ["connect", "list"]).stdout
        assert re.search(rf"{name} +{begin - timedelta(days=1):%Y-%m-%d} +40 +1 +2 +1 +0 +complete", listed)
        assert len(placed) == 40
    finally:
        removed = RUNNER.invoke(app, ["connect", "remove", name])
    assert removed.exit_code == 0, removed.output
    assert "connections" not in {part.name for part in part_states(stack)}
    assert "agreement" not in read_state(stack.run_dir)
    assert compared(stack, name) == []
    assert names(stack.producers_dir) == []
    secrets = (shop.consumer_key, shop.consumer_secret, shop.webhook_secret)
    basic = base64.b64encode(f"{shop.consumer_key}:{shop.consumer_secret}".encode()).decode()
    assert files_with(stack.home, *secrets, basic, guest, customer.name, customer.email) == []
    assert not any(text in connected.output + listed + removed.output for text in secrets[:2])


def test_credentials_are_kept_encrypted_and_their_key_goes_with_them(tmp_path: Path, shop: WooCommerce) -> None:
    kept, since = Connections(tmp_path), shop.now
    first = kept.add(name="bikes", platform="woocommerce", url=shop.url, since=since, credentials=OPENS)
    assert kept.get("bikes") == first
    assert first.credentials == OPENS
    assert not any(text in repr(first) for text in ("ck_key", "cs_secret", "hook", repr(first.guest_key)))
    assert files_with(tmp_path, "ck_key", "cs_secret") == []
    assert {path.name: oct(path.stat().st_mode)[-3:] for path in tmp_path.iterdir() if "sqlite" in path.name} == {
        "connections.sqlite": "600",
        "keys.sqlite": "600",
    }
    with pytest.raises(Misconfigured, match="bikes is connected already"):
        kept.add(name="bikes", platform="woocommerce", url=shop.url, since=since, credentials=OPENS)
    copied = (tmp_path / "connections.sqlite").read_bytes()
    kept.remove("bikes")
    assert names(tmp_path) == []
    (tmp_path / "connections.sqlite").write_bytes(copied)  # a backup of it opens nothing
    with pytest.raises(Misconfigured, match=rf"their key is not in {tmp_path / KEYS_FILE}"):
        kept.get("bikes")
    kept.remove("bikes")
    again = kept.add(name="bikes", platform="woocommerce", url=shop.url, since=since, credentials=OPENS)
    assert again.guest_key == first.guest_key


def test_a_first_connection_says_what_comes_next(run: Callable[..., Result], shop: WooCommerce, settings: Any) -> None:
    answers = f"{shop.url}/\n{shop.consumer_key} {shop.consumer_secret}\n\n"
    connected = run("connect", "woocommerce", input=answers)
    assert connected.exit_code == 0, connected.output
    assert connected.stdout.count("?") + connected.stdout.count("]: ") + connected.stdout.count("shop: ") <= 3
    assert "`insights up` starts everything" in connected.stdout
    assert "comparison with the shop, are in days of Europe/Berlin" in " ".join(connected.stdout.split())
    assert "`insights time-zone Europe/Berlin` changes that" in " ".join(connected.stdout.split())
    assert shop.consumer_secret not in connected.output
    assert names(settings.producers_dir) == [name_of(shop.url)]
    listed = run("connect", "list").stdout
    assert "being read" in listed
    assert "Europe/Berlin" in listed
    assert run("connect", "remove", name_of(shop.url)).exit_code == 0
    assert "No shop is connected" in run("connect", "list").stdout


def test_the_days_of_a_shop_are_those_that_it_says_or_that_a_person_chose(
    run: Callable[..., Result], shop: WooCommerce, settings: Settings, tmp_path: Path
) -> None:
    asked = ("--url", shop.url, "--credentials", key_file(shop, tmp_path), "--from", "2026-01-01", "--name", "bikes")
    assert run("connect", "woocommerce", *asked).exit_code == 0
    assert "Days of bikes are in Europe/Berlin, as the shop says." in run("connect", "zone", "bikes").stdout
    chosen = run("connect", "zone", "bikes", "Asia/Kathmandu").stdout
    assert "Days of bikes are in Asia/Kathmandu, chosen here." in chosen
    unknown = run("connect", "zone", "bikes", "Kathmandu")
    assert unknown.exit_code == 1
    assert "did you mean Asia/Kathmandu" in " ".join(unknown.stderr.split())
    assert "there is no connection 'cars'" in " ".join(run("connect", "zone", "cars", "Asia/Tokyo").stderr.split())
    assert "Asia/Kathmandu, chosen here" in run("connect", "zone", "bikes").stdout
    assert run("time-zone").stdout == "Days are in UTC.\n"  # those over all shops are not changed by it
    assert "Europe/Berlin, as the shop says" in run("connect", "zone", "bikes", "auto").stdout


def test_a_zone_that_is_not_known_here_is_not_shown_as_the_one_in_effect(
    run: Callable[..., Result], shop: WooCommerce, tmp_path: Path
) -> None:
    shop.time_zone = {"timezone_string": "Mars/Olympus_Mons"}
    asked = ("--url", shop.url, "--credentials", key_file(shop, tmp_path), "--from", "2026-01-01", "--name", "bikes")
    said = "The time zone of bikes, Mars/Olympus_Mons, is not known here: its days are in UTC, as those of all shops."
    for command in (("woocommerce", *asked), ("list",), ("zone", "bikes")):
        done = run("connect", *command)
        shown = " ".join(done.stdout.split())
        assert (done.exit_code, shown.count(said), shown.count("Mars")) == (0, 1, 1)
    assert " UTC " in run("connect", "list").stdout
    run("connect", "zone", "bikes", "Asia/Kathmandu")
    assert "Mars" not in run("connect", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "key", "reason"),
    [
        (("--url", "http://bikes.example"), "ck_1 cs_1", "is not encrypted"),
        ((), "ck_1", "a consumer key begins with ck_, and its secret with cs_"),
        ((), "ck_1 cs_1", "does not accept the consumer key and secret"),
        (("--from", "last year"), "", "'last year' is not a date"),
        (("--name", "My shop"), "", "'My shop' can't be a shop's name here"),
        (("--url", "https://127.0.0.1:1"), "", "gave an unexpected response"),
    ],
)
def test_what_is_wrong_is_said_at_once_and_nothing_is_kept(
    arguments: tuple[str, ...], key: str, reason: str, run: Callable[..., Result], shop: WooCommerce, settings: Settings
) -> None:
    given = {"--url": shop.url, "--from": "2026-01-01", **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    words = [word for pair in given.items() for word in pair]
    said = key or f"{shop.consumer_key} {shop.consumer_secret}"
    refused = run("connect", "woocommerce", *words, "--credentials", "-", input=said)
    assert refused.exit_code == (ShopAway.exit_code if "response" in reason else 1)
    assert reason in " ".join(refused.stderr.split())
    assert names(settings.producers_dir) == []


def test_an_order_file_is_looked_at_before_anything_starts(run: Callable[..., Result], tmp_path: Path) -> None:
    missing = run("connect", "csv", str(tmp_path / "orders.csv"))
    assert missing.exit_code == 1
    assert "orders.csv is not a file" in " ".join(missing.stderr.split())
    (tmp_path / "orders.csv").write_text("colour,weight\nred,3\n")
    unknown = run("connect", "csv", str(tmp_path / "orders.csv"))
    assert unknown.exit_code == 1
    assert "mapping" in unknown.stderr


def test_a_shop_in_another_currency_is_refused(run: Callable[..., Result], shop: WooCommerce, tmp_path: Path) -> None:
    shop.currency = "USD"
    asked = ("connect", "woocommerce", "--url", shop.url, "--credentials", key_file(shop, tmp_path))
    refused = run(*asked, "--from", "2026-01-01")
    assert refused.exit_code == 1
    assert "sells in USD" in " ".join(refused.stderr.split())
    assert "INSIGHTS_CURRENCY=USD" in " ".join(refused.stderr.split())


def test_a_shop_whose_currency_has_three_decimals_is_refused_and_no_setting_is_named_that_would_not_help(
    run: Callable[..., Result], shop: WooCommerce, settings: Settings, tmp_path: Path
) -> None:
    shop.currency = "KWD"
    asked = ("connect", "woocommerce", "--url", shop.url, "--credentials", key_file(shop, tmp_path))
    refused = run(*asked, "--from", "2026-01-01")
    assert refused.exit_code == 1
    said = " ".join(refused.stderr.split())
    assert "sells in KWD, which can't be connected: it has amounts of 3 decimals, and events carry 2" in said
    assert "INSIGHTS_CURRENCY" not in said
    assert names(settings.producers_dir) == []


def test_a_shop_is_not_added_to_the_synthetic_one(run: Callable[..., Result], settings: Settings) -> None:
    settings.producers_dir.mkdir(parents=True)
    state = ShopState(settings.producers_dir / "shop.sqlite", {})
    state.commit(Cursor(origin=0, minute=29_000_000, done=0, customers_from=0, written_ms=0), [])
    state.close()
    refused = run("connect", "woocommerce")
    assert refused.exit_code == 1
    assert "are the synthetic shop's" in " ".join(refused.stderr.split())


def test_a_file_of_credentials_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="key can't be read"):
        credentials_of(tmp_path / "key")


def test_a_stack_with_connected_shops_has_nothing_synthetic(settings: Settings) -> None:
    settings.producers_dir.mkdir(parents=True)
    assert not with_connections(settings, UpPlan()).connected
    Connections(settings.producers_dir).add(
        name="bikes", platform="woocommerce", url="https://a.b", since=WooCommerce().now, credentials=OPENS
    )
    plan = with_connections(settings, UpPlan())
    parts = {part.name: part for part in everything(settings, plan) if isinstance(part, Part)}
    assert {"connections", "page", "alerts"} < parts.keys()
    assert not {"shop", "shop-events", "catalog", "orders"} & parts.keys()
    assert str(settings.hooks_port) in parts["connections"].command
    assert not with_connections(settings, UpPlan(daemons=False)).connected
    with pytest.raises(Misconfigured, match="are a connected shop's, which brings its own history"):
        with_connections(settings, replace(UpPlan(), history="12h"))
    Memory(settings.producers_dir / FILE).close()
    Connections(settings.producers_dir).remove("bikes")
    assert with_connections(settings, UpPlan()).connected  # its numbers are there


def test_the_past_of_connected_shops_is_published_when_each_ones_history_is_read(settings: Settings) -> None:
    settings.producers_dir.mkdir(parents=True)
    for name in ("bikes", "chains"):
        Connections(settings.producers_dir).add(
            name=name, platform="woocommerce", url="https://a.b", since=WooCommerce().now, credentials=OPENS
        )
    memory = Memory(settings.producers_dir / FILE)
    for name, is_published in (("bikes", False), ("chains", True)):
        memory.move(name, Position(0, True, 0))
        memory.commit()
        assert Past(settings, "connections").is_published() is is_published
    memory.close()
