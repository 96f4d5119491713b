"""The synthetic shop is one coherent story, the same in every process and from every cursor."""

from __future__ import annotations

import random
import uuid
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.shop import people
from producers.shop.assortment import price_at
from producers.shop.occurrences import (
    COST_STATED,
    CUSTOMER_CHANGED,
    FEE_CHARGED,
    INTERACTION,
    MINUTE_MS,
    ORDER_PLACED,
    ORDER_REFUNDED,
    SPEND_STATED,
    STOCK_MOVED,
    Occurrence,
)
from producers.shop.simulation import Minute, Simulation, reopened
from producers.shop.visits import VISIT_MINUTES, Shop
from schemas.binary import EPOCH
from schemas.codec import Encoder
from schemas.errors import Misconfigured

SHOP = Shop(seed=3, rate=3)
ORIGIN = int(datetime(2026, 11, 9, 6, tzinfo=UTC).timestamp()) // 60
HOURS = 30


def seal(number: int, field: str, text: str) -> bytes:
    return f"{number} {field} {text}".encode()


def simulation(shop: Shop = SHOP, origin: int = ORIGIN) -> Simulation:
    return Simulation(shop, seal, origin=origin)


@cache
def minutes() -> tuple[Minute, ...]:
    """A day and a quarter of the shop, announcements included."""
    shop = simulation()
    return tuple(shop.advance() for _ in range(HOURS * 60))


@cache
def story() -> tuple[Occurrence, ...]:
    return tuple(occurrence for minute in minutes() for occurrence in minute.occurrences)


def told(event: Any) -> list[dict[str, Any]]:
    return [occurrence.record for occurrence in story() if occurrence.event is event]


def steps(kind: str) -> list[dict[str, Any]]:
    return [record for record in told(INTERACTION) if record["interaction"] == kind]


def test_the_same_seed_generates_the_same_story_and_another_seed_another() -> None:
    again, other = simulation(), simulation(Shop(seed=4, rate=3))
    first = [occurrence for _ in range(60) for occurrence in again.advance().occurrences]
    assert first == list(story()[: len(first)])
    assert other.advance().occurrences != first[: len(first)]


def test_events_come_in_the_order_of_their_time() -> None:
    assert all(a.at_ms <= b.at_ms for a, b in zip(story(), story()[1:], strict=False))


def test_an_event_happens_when_its_turn_comes_and_never_later() -> None:
    for minute in minutes():
        for occurrence in minute.occurrences:
            assert occurrence.at_ms // MINUTE_MS == minute.minute
            assert occurrence.record["occurred_at"] == EPOCH + timedelta(milliseconds=occurrence.at_ms)


@pytest.mark.parametrize(
    "event",
    [ORDER_PLACED, ORDER_REFUNDED, CUSTOMER_CHANGED, INTERACTION, STOCK_MOVED],
    ids=lambda event: event.name,
)
def test_every_event_fits_its_contract(event: Any) -> None:
    encoder = Encoder(event, 1)
    assert all(encoder.encode(record) for record in told(event))


def test_event_ids_are_distinct_uuids_of_version_7_with_the_events_own_time() -> None:
    assert len({occurrence.event_id for occurrence in story()}) == len(story())
    for occurrence in story()[::97]:
        parsed = uuid.UUID(occurrence.event_id)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == occurrence.at_ms
        assert occurrence.record["event_id"] == occurrence.event_id
        assert occurrence.record["occurred_at"] == datetime.fromtimestamp(occurrence.at_ms / 1000, UTC)


def test_purchases_match_orders_one_to_one_at_the_same_time() -> None:
    def facts(record: dict[str, Any], who: str) -> tuple[Any, ...]:
        return record["order_id"], record["session_id"], record["occurred_at"], record[who], record["region"]

    orders = Counter(facts(record, "customer_id") for record in told(ORDER_PLACED))
    assert orders == Counter(facts(record, "user_id") for record in steps("purchase"))
    assert len({order for order, *_ in orders}) == len(orders) > 1000


def test_an_order_holds_what_its_session_put_into_the_cart_at_the_price_of_the_moment() -> None:
    carts: defaultdict[str, set[str]] = defaultdict(set)
    for record in steps("add_to_cart"):
        carts[record["session_id"]].add(record["product_id"])
    for order in told(ORDER_PLACED):
        assert {line["product_id"] for line in order["lines"]} == carts[order["session_id"]]
        for line in order["lines"]:
            product = SHOP.by_id[line["product_id"]]
            assert line["unit_price"] == price_at(product, order["occurred_at"])
            assert line["category"] == product.category
            assert 0 <= line["discount_amount"] <= line["unit_price"] * line["quantity"] * Decimal("0.26")


def test_stock_falls_with_sales_and_never_below_nothing() -> None:
    sold = Counter({(m["order_id"], m["product_id"]): -m["delta"] for m in told(STOCK_MOVED) if m["reason"] == "sale"})
    ordered = Counter(
        {(o["order_id"], line["product_id"]): line["quantity"] for o in told(ORDER_PLACED) for line in o["lines"]}
    )
    assert sold == ordered
    levels: Counter[tuple[str, str]] = Counter()
    for move in told(STOCK_MOVED):
        place = (move["product_id"], move["warehouse"])
        levels[place] += move["delta"]
        assert levels[place] >= 0


def net(line: dict[str, Any]) -> Decimal:
    amount: Decimal = line["quantity"] * line["unit_price"] - line["discount_amount"]
    return amount


def test_refunds_pay_back_what_was_ordered_and_not_before() -> None:
    orders = {order["order_id"]: order for order in told(ORDER_PLACED)}
    refunds = told(ORDER_REFUNDED)
    assert len(refunds) > 10
    kinds: Counter[tuple[bool, bool]] = Counter()  # (goods, something else)
    for refund in refunds:
        order = orders[refund["order_id"]]
        assert refund["occurred_at"] >= order["occurred_at"] + timedelta(hours=1)
        assert refund["order_paid_at"] == order["paid_at"]
        paid = {
            line["product_id"]: line["quantity"] * line["unit_price"] - line["discount_amount"]
            for line in order["lines"]
        }
        assert all(line["amount"] == paid[line["product_id"]] for line in refund["lines"])
        other = refund["amount"] - sum(line["amount"] for line in refund["lines"])
        if len(refund["lines"]) == len(order["lines"]) > 1:
            assert other == order["shipping_amount"]
        if not refund["lines"]:
            assert other == (order["shipping_amount"] or Decimal("5.00"))
        kinds[bool(refund["lines"]), other > 0] += 1
    assert len(kinds) == 3
    assert len({refund["order_id"] for refund in refunds}) == len(refunds)


def test_customers_are_announced_or_sign_up_before_they_buy() -> None:
    known: set[str] = set()
    for occurrence in story():
        if occurrence.event is CUSTOMER_CHANGED:
            known.add(occurrence.record["customer_id"])
        elif occurrence.event is ORDER_PLACED:
            assert occurrence.record["customer_id"] in known
    returning = Counter(order["customer_id"] for order in told(ORDER_PLACED))
    assert max(returning.values()) > 1


@settings(deadline=None)
@given(
    st.integers(0, 4),
    st.integers(50_000, 10**7),
    st.integers(500, 50_000),
    st.integers(0, 50_000),
    st.randoms(use_true_random=False),
)
def test_a_returning_visitor_was_among_those_who_could_when_the_shop_began(
    region: int, newest: int, active: int, joined_since: int, rng: random.Random
) -> None:
    began_with = set(people.who_may_come_back(newest, active))
    for _ in range(20):
        number = people.pick(rng, region, newest + joined_since, active)
        assert number in began_with or newest < number <= newest + joined_since
        assert people.region_index(number) == region


def test_a_few_customers_stay_for_years_and_ever_fewer_of_those_who_joined_together() -> None:
    """Else cohorts are empty from the second month on."""
    active, newest = 20_000, 6_500_000
    share_left = []
    for doubling in range(6):
        ages = range(active << doubling >> 1, active << doubling)
        share_left.append(len({newest - n for n in people.who_may_come_back(newest, active)} & set(ages)) / len(ages))
    assert share_left == pytest.approx([1, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128], rel=0.25)
    signed_up = {record["customer_id"]: record["signup_date"] for record in told(CUSTOMER_CHANGED)}
    weeks = Counter((o["occurred_at"].date() - signed_up[o["customer_id"]]).days // 28 for o in told(ORDER_PLACED))
    assert all(weeks[month] > 0 for month in range(12)), weeks
    assert sum(n for month, n in weeks.items() if month > 0) > sum(weeks.values()) / 10


def test_a_customer_has_one_region_and_one_sign_up_date_whatever_changes() -> None:
    facts: defaultdict[str, set[Any]] = defaultdict(set)
    addresses: defaultdict[str, set[Any]] = defaultdict(set)
    for record in told(CUSTOMER_CHANGED):
        facts[record["customer_id"]].add((record["region"], record["signup_date"], record["age_band"]))
        addresses[record["customer_id"]].add(record["email_encrypted"])
    assert all(len(found) == 1 for found in facts.values())
    assert any(len(found) > 1 for found in addresses.values())


def test_sessions_are_bounded_coherent_and_seldom_end_in_a_purchase() -> None:
    sessions: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in told(INTERACTION):
        sessions[record["session_id"]].append(record)
    for events in sessions.values():
        assert len({(e["session_started_at"], e["region"], e["campaign"], e["referrer"]) for e in events}) == 1
        assert events[0]["interaction"] == "page_view"
        assert events[0]["occurred_at"] == events[0]["session_started_at"]
        assert events[-1]["occurred_at"] - events[0]["occurred_at"] < timedelta(minutes=VISIT_MINUTES)
        assert len({e["user_id"] for e in events} - {None}) <= 1
    assert 6 < sum(map(len, sessions.values())) / len(sessions) < 8
    assert 0.06 < len(steps("purchase")) / len(sessions) < 0.10


def test_popularity_has_a_long_tail() -> None:
    views = Counter(record["product_id"] for record in steps("product_view"))
    most = views.most_common()
    assert most[0][1] > 8 * most[len(most) // 2][1]
    assert len(most) > 280


def test_the_shop_has_its_days_and_its_mean_rate() -> None:
    hours = Counter((o.at_ms - ORIGIN * MINUTE_MS) // 3_600_000 for o in story() if o.at_ms > ORIGIN * MINUTE_MS)
    day = [hours[hour] for hour in range(1, 25)]
    assert max(day) > 1.8 * min(day)
    assert 0.9 < sum(day) / 86_400 / SHOP.rate < 1.1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, HOURS * 60 - 2))
def test_from_any_cursor_the_story_goes_on_the_same(over: int) -> None:
    # The state as the shop gathers it: what the minutes that are over scheduled and moved.
    scheduled = [item for minute in minutes()[:over] for item in minute.scheduled if item.minute >= ORIGIN + over]
    levels = {place: units for minute in minutes()[:over] for place, units in minute.levels.items()}
    resumed = Simulation(SHOP, seal, origin=ORIGIN, minute=ORIGIN + over, scheduled=scheduled, levels=levels)
    assert resumed.advance() == minutes()[over]
    assert resumed.advance() == minutes()[over + 1]


def test_a_shop_that_was_down_announces_sign_ups_and_pays_due_refunds() -> None:
    shop = simulation()
    for _ in range(6 * 60):
        shop.advance()
    pending = [item for item in shop.pending if item.kind == "refund"]
    back = ORIGIN + 24 * 60
    again = reopened(shop, seal, back)
    first = again.advance().occurrences
    told_now = {o.record["customer_id"] for o in first if o.event is CUSTOMER_CHANGED}
    assert len(told_now) >= SHOP.customers_before(back) - SHOP.customers_before(shop.minute) > 0
    due = {item.payload["order_id"] for item in pending if item.due_ms <= back * MINUTE_MS}
    assert due
    assert due <= {o.record["order_id"] for o in first if o.event is ORDER_REFUNDED}
    assert all(o.at_ms >= back * MINUTE_MS for o in first)
    assert not [o for o in first if o.event is STOCK_MOVED and o.record["reason"] == "sale"]


def test_before_it_opened_there_is_no_shop() -> None:
    for origin in (0, int(datetime(2015, 1, 14, tzinfo=UTC).timestamp()) // 60):
        with pytest.raises(Misconfigured, match="opens in January 2015"):
            simulation(origin=origin)


def test_every_order_is_charged_a_fee() -> None:
    totals = {order["order_id"]: order["total_amount"] for order in told(ORDER_PLACED)}
    fees = {fee["order_id"]: fee["amount"] for fee in told(FEE_CHARGED)}
    assert fees.keys() == totals.keys()
    assert all(Decimal("0.25") < fee < totals[order_id] / 10 for order_id, fee in fees.items() if totals[order_id] > 9)


def test_goods_cost_less_than_they_are_sold_for_and_some_costs_are_stated_late() -> None:
    stated = {record["product_id"]: record for record in told(COST_STATED)}
    products = {product.product_id: product for product in SHOP.products}
    assert 0.9 < len(stated) / len(products) < 1
    for product_id, record in stated.items():
        assert Decimal("0.4") < record["unit_cost"] / products[product_id].base_price < Decimal("0.9")
        assert record["valid_from"] <= record["occurred_at"]


def test_a_campaign_costs_what_its_visits_of_the_day_click() -> None:
    """A day is stated on the morning after and once more, lower, on the third."""
    shop, clicks, visits = simulation(Shop(seed=3, rate=0.3)), defaultdict[Any, list[int]](list), Counter[Any]()
    for _ in range(4 * 1440):
        for o in shop.advance().occurrences:
            if o.event is SPEND_STATED:
                clicks[o.record["campaign"], o.record["day"]].append(o.record["clicks"])
            elif o.event is INTERACTION and o.record["occurred_at"] == o.record["session_started_at"]:
                visits[o.record["campaign"], o.record["occurred_at"].date()] += 1
    twice = {key: found for key, found in clicks.items() if len(found) == 2}
    assert twice
    assert all(second < first for first, second in twice.values())
    for key, found in clicks.items():
        assert found[0] == pytest.approx(visits[key], rel=0.35)
