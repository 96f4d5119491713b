"""Redriving with a log in memory: what is published, what is noted, and when it stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.letters.causes import by_cause
from insights.letters.redrive import Breaker, Outcome, StillFailing
from insights.letters.ways import Way, order_of, source_of, way_of
from insights.privacy.letters import GONE
from producers.connect.rereads import Doubt
from producers.redrive.recipe import Recipe, load
from reconciliation.redrives import state_of
from schemas.errors import PoisonEvent
from tests.letters.world import AT, DEAD_AT, NUMBERS, SPEND, TEXTS, WEB, World, letter, recipe, web
from tests.producers.gate.records import ORDER, checker, in_avro, in_json, message, order, typed


def test_fixed_letters_are_published_once_and_a_second_run_changes_nothing() -> None:
    world, letters = World(), [web(1), web(2)]
    first = world.run(letters, recipe=TEXTS)
    assert [(each.offset, each.what, each.event_id) for each in first] == [
        (1, "redriven", world.ids[0]),
        (2, "redriven", world.ids[1]),
    ]
    noted = dict(world.rows)
    assert {(row.state, row.recipe, row.by) for row in noted.values()} == {("redriven", "texts", "anna")}
    assert [each.what for each in world.run(letters, recipe=TEXTS)] == ["before", "before"]
    assert (len(world.events), world.rows) == (2, noted)


@given(fails=st.sets(st.integers(0, 29), max_size=10), dies_at=st.none() | st.integers(1, 20))
def test_however_often_and_wherever_a_run_is_killed_each_letter_makes_one_event(
    fails: set[int], dies_at: int | None
) -> None:
    letters = [web(n, interaction="bought" if n in fails else "product_view") for n in range(30)]
    world = World(dies_at=dies_at)
    if dies_at is not None:
        with pytest.raises(KeyboardInterrupt):
            world.run(letters, recipe=TEXTS)
        world.dies_at = None
    world.run(letters, recipe=TEXTS)
    whats = [each.what for each in world.run(letters, recipe=TEXTS)]
    assert len(set(world.ids)) == 30 - len(fails)
    assert {n for n, what in enumerate(whats) if what == "failed"} == fails
    assert {n for n, row in world.rows.items() if row.state == "failed"} == fails
    # What Kafka had when the run was killed is published again under its ids: duplicates, and no further event.
    assert len(world.ids) == (2 if dies_at is not None else 1) * (30 - len(fails))


def test_a_dry_run_says_what_would_be_and_publishes_notes_and_asks_nothing() -> None:
    world = World()
    shop = letter(3, "sales.order_placed.v1", {}, shop="bikes", what="order:17")
    said = world.run([web(1), web(2, page=...)], recipe=TEXTS, is_dry=True)
    said += world.run([shop], topic="sales.order_placed", is_dry=True)
    assert [each.what for each in said] == ["failed", "redriven", "asked"]
    assert world == World()


def test_what_is_rejected_again_stays_open_with_its_reason_and_can_be_redriven_later() -> None:
    world = World()
    (one,) = world.run([web(1)], where="value.product_id == `1`")
    assert (one.what, "product_id: Expected" in one.reason) == ("failed", True)
    assert world.rows[1].state == "failed"
    assert "product_id" in (world.rows[1].reason or "")
    assert [each.what for each in world.run([web(1)], recipe=TEXTS)] == ["redriven"]
    assert world.rows[1].state == "redriven"


def test_a_run_that_was_killed_goes_on_with_its_recipe_alone() -> None:
    world = World(dies_at=1)
    with pytest.raises(KeyboardInterrupt):
        world.run([web(1)], recipe=TEXTS)
    assert world.rows[1].state == "sending"
    world.dies_at = None
    other = recipe({"set": {"product_id": "x"}}, digest="1")
    (one,) = world.run([web(1)], recipe=other)
    assert (one.what, "the recipe texts" in one.reason) == ("unfinished", True)
    assert [each.what for each in world.run([web(1)], recipe=TEXTS)] == ["redriven"]
    assert len(set(world.ids)) == 1


def test_the_same_offset_on_another_log_is_another_letter() -> None:
    world = World()
    world.run([web(1)], recipe=TEXTS)
    new = replace(web(1), dead_at=DEAD_AT + timedelta(hours=1))
    assert state_of(new, world.rows) is None
    assert [each.what for each in world.run([new], recipe=TEXTS)] == ["redriven"]


def test_twenty_in_a_row_stop_it_and_what_passed_with_them_is_kept_back() -> None:
    world = World()
    letters = [web(n) for n in range(150)] + [web(n, page=...) for n in range(150, 400)]
    done: list[Outcome] = []
    with pytest.raises(
        StillFailing, match=r"20 in a row were refused again.*50 letters that passed were kept back"
    ) as stopped:
        done += world.run(letters, recipe=TEXTS)
    assert "169, because page: is missing" in str(stopped.value)
    assert len(world.events) == 100
    assert sum(row.state == "failed" for row in world.rows.values()) == 20


def test_more_than_ten_of_the_first_hundred_stop_it() -> None:
    world = World()
    letters = [web(n, page=... if n % 5 == 0 else "/p") for n in range(400)]
    with pytest.raises(StillFailing, match="11 of the first 51 were refused again"):
        world.run(letters, recipe=TEXTS)
    assert world.events == []


def test_letters_that_failed_before_do_not_keep_a_later_run_from_those_after_them() -> None:
    world = World()
    letters = [web(n, page=...) for n in range(60)] + [web(n) for n in range(60, 80)]
    runs = 0
    while sum(row.state == "redriven" for row in world.rows.values()) < 20:
        runs += 1
        try:
            world.run(letters, recipe=TEXTS)
        except StillFailing:
            assert runs < 7
    with pytest.raises(StillFailing):
        world.run(letters[:60], recipe=recipe({"cast": {"product_id": "text"}}, digest="other"))


def test_what_may_be_on_the_log_is_not_opened_for_another_recipe_by_failing_now() -> None:
    world = World(dies_at=1)
    with pytest.raises(KeyboardInterrupt):
        world.run([web(1)], recipe=TEXTS)
    world.dies_at = None
    (said,) = world.run([web(1, page=...)], recipe=TEXTS)
    assert (said.what, world.rows[1].state) == ("failed", "sending")
    (said,) = world.run([web(1)], recipe=recipe({"set": {"product_id": "x"}}, digest="1"))
    assert said.what == "unfinished"


@given(st.lists(st.booleans(), max_size=300))
def test_the_breaker_opens_for_these_two_reasons_and_no_other(fails: list[bool]) -> None:
    breaker = Breaker()
    for number, is_failed in enumerate(fails, 1):
        breaker.note(is_failed)
        many = sum(fails[: min(number, 100)]) > 10 and number <= 100
        row = number >= 20 and all(fails[number - 20 : number])
        assert bool(breaker.reason) == (many or row)
        if breaker.reason:
            return


def test_a_condition_picks_letters_by_what_they_say_and_no_other_is_touched() -> None:
    world = World()
    letters = [web(1, page="/a"), web(2, page="/b"), letter(3, SPEND, {"page": "/a"})]
    assert [each.offset for each in world.run(letters, where="value.page == '/a'", recipe=TEXTS)] == [1]
    assert world.run(letters, where="contains(value.nothing, 'a')", recipe=TEXTS) == []
    with pytest.raises(PoisonEvent, match="can't be evaluated"):
        world.run(letters, where="nothing(value)")


def test_letters_of_others_are_not_published_and_each_says_who_mends_it() -> None:
    world = World()
    orders = "sales.order_placed.v1"
    letters = [
        letter(1, orders, {}, shop="bikes", what="order:17"),
        letter(2, orders, {}, shop="bikes", what="fees:17"),
        letter(3, orders, {}, shop="sold-long-ago", what="order:1"),
        letter(4, "catalog.product_observed.v1", {}, shop="bikes", what="product:9"),
        letter(5, orders, b"a;b", **{"file": "/home/a/orders.csv", "file.sha256": "x", "line": "3"}),
        letter(
            6,
            "catalog.product_observed.v1",
            b"<html>",
            error="producers.scraping.page.UnreadablePage",
            url="https://x.example/p",
        ),
        replace(letter(7, WEB, b""), headers={"value": GONE}),
    ]
    said = world.run(letters, where="offset > `0`")
    assert [each.what for each in said] == ["asked", "asked", "shop", "shop", "file", "page", "gone"]
    assert world.asked == [("bikes", (Doubt("17", order=True, refunds=True),))]
    assert world.events == []
    assert {offset: row.state for offset, row in world.rows.items()} == {1: "asked", 2: "asked"}


def test_a_condition_takes_letters_since_a_day() -> None:
    letters = [replace(web(1), dead_at=DEAD_AT - timedelta(days=1)), web(2)]
    said = World().run(letters, where="dead_at > '2026-11-27'", is_dry=True)
    assert [each.offset for each in said] == [2]


def test_a_condition_compares_decimals_as_numbers() -> None:
    said = World().run([web(1, product_id="a", at=0.1)], where="value.at == `0.1` && value.at < `0.2`", is_dry=True)
    assert [each.offset for each in said] == [1]


def test_a_letter_that_is_nested_too_deeply_fails_alone() -> None:
    world = World()
    deep = letter(1, WEB, b'{"page":' * 480 + b"1" + b"}" * 480, source="bikes")
    said = world.run([deep, web(2)], where="starts_with(topic, 'web')", recipe=TEXTS)
    assert [each.what for each in said] == ["failed", "redriven"]
    assert "nested more than 64 levels deep" in said[0].reason


def test_a_condition_that_a_value_of_one_letter_does_not_allow_leaves_out_that_letter_alone() -> None:
    world = World()
    letters = [web(1, page="1e999"), web(2, page="2")]
    said = world.run(letters, where="ceil(to_number(value.page)) == `2`", recipe=TEXTS)
    assert [(each.offset, each.what) for each in said] == [(2, "redriven")]


STRANGERS = {"source": "shop-b", "session_id": "s1", "session_started_at": 0}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("mended", [None, TEXTS])
def test_a_visitors_bytes_say_neither_whose_event_it_is_nor_in_which_visit(name: str, mended: Recipe | None) -> None:
    world = World()
    (one,) = world.run([web(1, product_id="1", **{name: STRANGERS[name]})], topic="web.interaction", recipe=mended)
    assert (one.what, one.reason) == ("failed", f"{name}: is not a known field")
    assert world.events == []


def test_the_shipped_recipe_leaves_out_what_no_page_may_send() -> None:
    world = World()
    world.run([web(1, **STRANGERS)], recipe=load(NUMBERS))
    (made,) = world.events
    assert (made["source"], made["session_started_at"]) == ("bikes", made["occurred_at"])


def test_a_recipe_names_the_visit_but_not_another_source_than_the_collector_did() -> None:
    world = World()
    visit = {"session_id": "s1", "session_started_at": AT - 1000}
    (said,) = world.run([web(1, product_id="1")], recipe=recipe({"set": visit}))
    assert said.what == "redriven"
    assert world.events[0]["session_started_at"] == DEAD_AT - timedelta(milliseconds=1500)
    (said,) = world.run([web(2, product_id="1")], recipe=recipe({"set": {"source": "shop-b"}}))
    assert said.reason == "source: is not a known field"


@pytest.mark.parametrize(("hours", "says"), [(-25, "25.0 h before it arrived"), (1, "3599 s after it was sent")])
def test_an_event_that_the_collector_would_not_have_taken_for_its_time_is_rejected_again(hours: int, says: str) -> None:
    world = World()
    (one,) = world.run([web(1, product_id="1", at=AT + hours * 3_600_000)], topic="web.interaction")
    assert (one.what, says in one.reason) == ("failed", True), one.reason


def test_an_order_that_waits_to_be_read_again_is_not_asked_for_twice() -> None:
    world = World()
    letters = [letter(1, "sales.order_placed.v1", {}, shop="bikes", what="order:17")]
    assert [each.what for each in world.run(letters, topic="sales.order_placed")] == ["asked"]
    letters.append(letter(2, "sales.order_placed.v1", {}, shop="bikes", what="order:18"))
    assert [each.what for each in world.run(letters, topic="sales.order_placed")] == ["waiting", "asked"]
    assert [doubt.order_id for _, doubts in world.asked for doubt in doubts] == ["17", "18"]
    world.asked.clear()  # read again
    assert [each.what for each in world.run(letters[:1], topic="sales.order_placed")] == ["asked"]


def test_a_letter_that_was_cut_off_is_not_taken_for_the_whole() -> None:
    cut = letter(
        1, WEB, {"id": "e1", "at": AT, "interaction": "page_view", "page": "/"}, **{"truncated.from": "2000000"}
    )
    (one,) = World().run([cut], topic="web.interaction")
    assert "was cut off: of 2000000 bytes" in one.reason


@pytest.mark.parametrize(
    ("what", "order_id"),
    [
        ("order:gid://shopify/Order/1", "gid://shopify/Order/1"),
        ("cancellation:17", "17"),
        ("refund of 17:ab12", "17"),
        ("fees:17", "17"),
        ("refund:5", None),
        ("order:", None),
        ("products:5", None),
    ],
)
def test_the_order_that_a_shops_letter_is_about(what: str, order_id: str | None) -> None:
    assert order_of(letter(1, WEB, {}, shop="bikes", what=what)) == order_id


def test_letters_count_by_cause_and_what_was_redriven_is_not_open() -> None:
    world = World()
    letters = [web(1), web(2), web(3, page=...), letter(9, SPEND, {}, source="ads")]
    world.run(letters[:3], recipe=TEXTS)
    first, second = by_cause(letters, world.rows, {WEB: 300})
    if first.topic != WEB:
        first, second = second, first
    assert (first.letters, first.open, first.redriven, first.failed, first.example) == (3, 1, 2, 1, 3)
    assert (first.share, second.share, second.open) == (0.01, None, 1)
    assert (first.first, first.last) == (letters[0].dead_at, letters[2].dead_at)
    assert (first.source, first.ways) == ("bikes", {Way.RECIPE})
    assert "recipe" in first.advice
    assert first.as_json()["open"] == 1


def test_where_a_letter_comes_from_is_what_its_producer_says() -> None:
    assert source_of(letter(1, WEB, {}, file="/home/a/orders.csv")) == "orders.csv"
    assert source_of(letter(1, WEB, {}, url="https://shop.example/p?x")) == "shop.example"
    assert source_of(letter(1, WEB, {})) == ""
    assert way_of(letter(1, WEB, {}, shop="bikes")) is Way.SHOP


def test_an_event_keeps_the_id_that_it_had() -> None:
    kept = "0199d5a0-0000-7000-8000-000000000001"
    value = {
        **{"event_id": kept, "occurred_at": "2026-11-27T08:00:00Z", "channel": "ads", "campaign": "autumn"},
        **{"day": "2026-11-26", "amount": "7.50", "currency": "EUR"},
    }
    world = World()
    world.run([letter(1, SPEND, value)], topic="marketing.spend_stated")
    assert world.ids == [kept]


def gates(offset: int, value: Any, **headers: str) -> Any:
    """A letter of the gate."""
    more = {"connector.name": "insights-gate", "key": "C1", **headers}
    return letter(offset, "sales.order_placed.v1", value, "producers.gate.check.BadMessage", **more)


def test_a_letter_of_the_gate_in_avro_is_redriven_as_it_came_once_its_schema_is_known() -> None:
    world = World()
    one = gates(1, in_avro(typed(), 77))
    (refused,) = world.run([one], topic="sales.order_placed")
    assert (refused.what, "no schema has the id 77" in refused.reason) == ("failed", True)
    world.schemas[77] = ORDER.schema_text
    assert [each.what for each in world.run([one], topic="sales.order_placed")] == ["redriven"]
    assert world.events[0]["lines"] == typed()["lines"]


def test_a_recipe_sees_a_letter_in_avro_as_json() -> None:
    world = World(schemas={77: ORDER.schema_text})
    steps = {"map": {"field": "source", "values": {"Till 1": "till-1"}}}
    mend = recipe(steps, event="sales.order_placed", where="value.source == 'Till 1' && value.tax_amount == '1.93'")
    one = gates(1, in_avro(typed(source="Till 1"), 77))
    assert [each.what for each in world.run([one], recipe=mend)] == ["redriven"]
    assert world.events[0]["source"] == "till-1"


@pytest.mark.parametrize(
    ("said", "problem"),
    [({"source": "bikes"}, "a connected shop"), ({"customer_id": "C2"}, "send the same, or no key")],
)
def test_what_the_gate_refuses_a_redrive_of_its_letters_refuses_too(said: dict[str, Any], problem: str) -> None:
    world = World()
    (one,) = world.run([gates(1, order(**said))], topic="sales.order_placed")
    assert (one.what, problem in one.reason, world.events) == ("failed", True, [])


def test_a_recipe_can_not_make_the_event_of_a_connected_shop_and_corrects_the_source_of_a_program() -> None:
    def mapped(value: str, to: str) -> Any:
        steps = {"map": {"field": "source", "values": {value: to}}}
        return recipe(steps, event="sales.order_placed", where=f"value.source == '{value}'")

    world = World()
    forged = gates(1, order(source="bikes"), source="bikes")
    assert [each.what for each in world.run([forged], recipe=mapped("bikes", "till-1"))] == ["redriven"]
    assert world.events[0]["source"] == "till-1"
    mended = gates(2, order(source="till"), source="till")
    (one,) = world.run([mended], recipe=mapped("till", "bikes"))
    assert (one.what, "a connected shop" in one.reason, len(world.events)) == ("failed", True, 1)


def test_two_letters_of_one_record_and_its_event_from_the_gate_have_one_id() -> None:
    sent = order(event_id=...)
    came = message(in_json(sent), offset=7)
    place = {"partition": "0", "offset": "7", "record.timestamp": str(came.at_ms), "topic": ORDER.ingress}
    world = World()
    for offset, value in ((1, sent), (2, sent), (3, {**sent, "event_id": None})):
        one = gates(offset, value, source="till")
        world.run([replace(one, headers={**one.headers, **place})], topic="sales.order_placed")
    assert world.ids == [checker().record(came)["event_id"]] * 3


def test_an_empty_key_is_refused_as_the_gate_refuses_it() -> None:
    (one,) = World().run([gates(1, order(), key="")], topic="sales.order_placed")
    assert (one.what, "send the same, or no key" in one.reason) == ("failed", True)


def test_however_many_letters_have_unknown_schemas_one_whose_schema_is_known_is_redriven() -> None:
    world = World(schemas={5000: ORDER.schema_text})
    letters = [gates(n, in_avro(typed(), 1_000 + n)) for n in range(100)] + [gates(100, in_avro(typed(), 5000))]
    outcomes = world.run(letters, where="value.source == 'till'")
    assert [(each.offset, each.what) for each in outcomes] == [(100, "redriven")]
