"""Recipes for dead letters: what their steps do, what is refused, and that no letter makes one crash."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.redrive import recipe as recipes
from producers.redrive.event import Anybody, Origin, made
from producers.redrive.recipe import Recipe, load, parsed
from schemas.catalogue import event
from schemas.codec import Encoder
from schemas.errors import Misconfigured, PoisonEvent
from schemas.quoted import without_values

SHIPPED = sorted((Path(recipes.__file__).parent / "recipes").glob("*.yaml"))
DEAD_AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
UUID = "0199d5a0-0000-7000-8000-000000000001"
LETTER = Origin(offset=7, dead_at=DEAD_AT, headers={"source": "bikes"})
GOOD = """
title: Spend was written with its currency
event: marketing.spend_stated
steps:
  - replace: {field: amount, pattern: ' EUR$', by: ''}
  - default: {channel: ads, currency: EUR, occurred_at: "2026-11-27T09:00:00Z"}
examples:
  - given: {campaign: autumn, day: "2026-11-01", amount: 12.50 EUR}
    expected:
      {campaign: autumn, day: "2026-11-01", amount: "12.50", channel: ads, currency: EUR,
       occurred_at: "2026-11-27T09:00:00Z"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "spend.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_does_what_its_examples_say(path: Path) -> None:
    assert load(path).name == path.stem


def test_a_recipe_makes_the_contracts_record_with_an_id_of_the_letters_own(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, GOOD))
    value = recipe.parsed(b'{"campaign": "autumn", "day": "2026-11-01", "amount": "12.50 EUR"}')
    fixed = recipe.fixed({"value": value})
    one, again = (made(event(recipe.event), fixed, LETTER, Anybody()) for _ in range(2))
    assert one == again
    assert (one["amount"], one["day"], one["source"]) == (Decimal("12.50"), date(2026, 11, 1), "bikes")
    other = Origin(offset=8, dead_at=DEAD_AT, headers={})
    assert made(event(recipe.event), fixed, other, Anybody())["event_id"] != one["event_id"]
    assert Encoder(event(recipe.event), 1).encode(one)


def test_a_recipe_is_known_by_what_it_does_and_not_by_its_title_comments_or_examples(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return load(written(tmp_path, text)).sha256

    same = GOOD.replace("title: Spend was", "# now\ntitle: Spend had been").replace(
        "campaign: autumn", "campaign: winter"
    )
    assert digest(same) == digest(GOOD)
    others = {GOOD.replace("' EUR$'", "' ?EUR$'"), GOOD.replace("steps:", "where: error == ''\nsteps:")}
    assert len({digest(each) for each in {GOOD, *others}}) == 3


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("expected:\n", "expected:\n      # nothing\n", None),
        ('amount: "12.50", channel', 'amount: "12.5", channel', 'example 1: amount is "12.50", and "12.5" is expected'),
        ("pattern: ' EUR$'", "pattern: 'USD$'", "example 1: amount is"),
        ("event: marketing.spend_stated", "event: marketing.nothing", "field event: 'marketing.nothing' is no event"),
        ("event: marketing.spend_stated", "event: customers.customer_changed", "is encrypted by the source"),
        ("  - replace:", "  - replaced:", "field steps.0.replaced: is not a field here"),
        ("pattern: ' EUR$'", "pattern: '('", "is not a regular expression"),
        ("pattern: ' EUR$', by: ''", r"pattern: ' EUR$', by: '\1'", "can't be replaced: invalid group reference 1"),
        ("pattern: ' EUR$', by: ''", r"pattern: ' EUR$', by: '\g<x>'", "can't be replaced: unknown group name"),
        ("steps:", "where: error = 'x'\nsteps:", "is not a JMESPath expression"),
        ("steps:", "where: error == 'x'\nsteps:", "where leaves it out, and something is expected"),
        ("steps:", "where: nothing(error)\nsteps:", "can't be evaluated"),
        ("steps:", "read: csv\nsteps:", "columns are named where, and only where, read is csv"),
        ("examples:", "sha256: abc\nexamples:", "field sha256: is not a field here"),
        ('day: "2026-11-01", amount: "12.50"', 'day: "yesterday", amount: "12.50"', "day is"),
        ("title: Spend was written with its currency", "title: ''", "field title"),
    ],
)
def test_a_recipe_that_is_wrong_or_breaks_its_own_example_is_refused(
    tmp_path: Path, wrong: str, right: str, says: str | None
) -> None:
    assert wrong in GOOD
    path = written(tmp_path, GOOD.replace(wrong, right))
    if says is None:
        load(path)
        return
    with pytest.raises(Misconfigured) as refused:
        load(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)


def test_an_example_whose_event_breaks_the_contract_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('day: "2026-11-01"', "day: soon")
    with pytest.raises(Misconfigured, match=r"example 1: marketing.spend_stated: field day is 'soon'"):
        load(written(tmp_path, text))


def a_recipe(*steps: dict[str, Any], **more: Any) -> Recipe:
    """Without the check of its examples, which there are none of."""
    fields = {"name": "a", "sha256": "0", "title": "a", "event": "web.interaction", "steps": steps, **more}
    return Recipe.model_validate({"examples": [{"given": {}, "expected": {}}], **fields})


@pytest.mark.parametrize(
    ("step", "given", "expected"),
    [
        ({"set": {"a.b": 1.5}}, {}, {"a": {"b": Decimal("1.5")}}),
        ({"default": {"a": 1, "b": 2}}, {"a": None, "b": 3}, {"a": 1, "b": 3}),
        ({"take": {"a": "value.list[1].x", "b": "headers.source"}}, {"list": [{}, {"x": 1}]}, None),
        ({"rename": {"a": "b", "c": "d"}}, {"a": 1}, {"b": 1}),
        ({"drop": ["a.b", "x.y"]}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ({"keep": ["a"]}, {"a": 1, "b": 2}, {"a": 1}),
        ({"replace": {"field": "a", "pattern": r"\s+", "by": "-"}}, {"a": "x  y"}, {"a": "x-y"}),
        ({"map": {"field": "a", "values": {"pv": "page_view", "7": 8}}}, {"a": "pv"}, {"a": "page_view"}),
        ({"map": {"field": "a", "values": {"7": 8}}}, {"a": 7}, {"a": 8}),
        ({"map": {"field": "a", "values": {"7.5": 8}}}, {"a": 7.5}, {"a": 8}),
        ({"take": {"a": "sum(value.b)"}}, {"b": [1, 7.5]}, {"b": [1, Decimal("7.5")], "a": Decimal("8.5")}),
        ({"take": {"a": "to_string(value.b)"}}, {"b": 7.50}, {"b": Decimal("7.5"), "a": "7.5"}),
        ({"take": {"a": "value.b"}}, {"b": 0.1}, {"b": Decimal("0.1"), "a": Decimal("0.1")}),
        ({"cast": {"a": "text"}}, {"a": 7}, {"a": "7"}),
        ({"cast": {"a": "integer", "b": "integer"}}, {"a": "7", "b": None}, {"a": 7, "b": None}),
        ({"cast": {"a": "number"}}, {"a": "7.10"}, {"a": Decimal("7.10")}),
        ({"cast": {"a": "boolean"}}, {"a": "Yes"}, {"a": True}),
        ({"cast": {"a": "time"}}, {"a": "1970-01-01T00:00:01Z"}, {"a": 1000}),
        ({"cast": {"a": "seconds"}}, {"a": "1.5"}, {"a": 1500}),
        ({"parse": {"a": "json"}}, {"a": '{"b": [1]}'}, {"a": {"b": [1]}}),
        ({"parse": {"a": "query"}}, {"a": "b=1&c=%20"}, {"a": {"b": "1", "c": " "}}),
        ({"parse": {"a": "base64"}}, {"a": "w7x4"}, {"a": "üx"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_a_step_does_what_it_is_called(step: Any, given: Any, expected: Any) -> None:
    fixed = a_recipe(step).fixed({"value": given, "headers": {"source": "bikes"}})
    assert fixed == (expected or {**given, "a": 1, "b": "bikes"})


@pytest.mark.parametrize(
    ("step", "given", "says"),
    [
        ({"set": {"a.b": 1}}, {"a": 7}, "a.b: a is not an object"),
        ({"rename": {"a": "b"}}, {"a": 1, "b": 2}, "b: is there already"),
        ({"replace": {"field": "a", "pattern": "x", "by": ""}}, {"a": 7}, "a: is 7, which is no text"),
        ({"cast": {"a": "integer"}}, {"a": "7.5"}, "a: is '7.5', which can't be read as integer"),
        ({"cast": {"a": "integer"}}, {"a": "1e999999"}, "can't be read as integer"),
        ({"cast": {"a": "number"}}, {"a": "NaN"}, "can't be read as number"),
        ({"cast": {"a": "time"}}, {"a": "2026-11-27T09:00:00"}, "can't be read as time"),
        ({"parse": {"a": "json"}}, {"a": "{"}, "a: can't be read as json"),
        ({"parse": {"a": "base64"}}, {"a": "/w=="}, "a: can't be read as base64"),
        ({"take": {"a": "abs(value.a)"}}, {"a": "x"}, "can't be evaluated"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_a_step_that_can_not_be_done_says_on_which_field(step: Any, given: Any, says: str) -> None:
    with pytest.raises(PoisonEvent) as refused:
        a_recipe(step).fixed({"value": given, "headers": {}})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "step",
    [
        {"take": {"a": "abs(value.a)"}},
        {"take": {"a": "sum(value.list)"}},
        {"take": {"a": "sort_by(value.lists, &a)"}},
        {"cast": {"a": "integer"}},
        {"cast": {"list": "text"}},
        {"parse": {"a": "json"}},
        {"replace": {"field": "list", "pattern": "x", "by": ""}},
        {"set": {"interaction": "page_view"}},
    ],
    ids=lambda step: next(iter(step)),
)
def test_no_reason_that_is_kept_has_a_value_of_the_letter(step: Any) -> None:
    given = {"a": "anna o'neill", "list": ["anna"], "lists": [{"a": "anna"}, {"a": 1}], "anna@b.example": 1}
    with pytest.raises(PoisonEvent) as refused:
        made(event("web.interaction"), a_recipe(step).fixed({"value": given, "headers": {}}), LETTER, Anybody())
    assert "anna" not in without_values(str(refused.value))


def test_a_key_that_is_no_fields_name_is_quoted_as_a_value_is() -> None:
    spend = {"event_id": UUID, "occurred_at": DEAD_AT, "source": "ads", "trace": None, "channel": "ads"}
    spend |= {"campaign": "autumn", "day": date(2026, 11, 1), "amount": Decimal("12.50"), "currency": "EUR"}
    for key, says in (("colour", "field colour is"), ("anna@b.example", "field 'anna@b.example' is")):
        with pytest.raises(PoisonEvent, match=f"{says} not in the contract"):
            Encoder(event("marketing.spend_stated"), 1).encode({**spend, key: 1})


def test_what_a_table_of_a_recipe_holds_is_not_changed_by_a_letter() -> None:
    recipe = a_recipe({"map": {"field": "a", "values": {"x": {"b": 1}}}}, {"take": {"a.c": "value.said"}})
    first = recipe.fixed({"value": {"a": "x", "said": "anna"}, "headers": {}})
    second = recipe.fixed({"value": {"a": "x"}, "headers": {}})
    assert (first["a"], second["a"]) == ({"b": 1, "c": "anna"}, {"b": 1, "c": None})
    again = recipe.steps[0].map
    assert again is not None
    assert again.values == {"x": {"b": 1}}


def test_a_number_that_no_float_has_is_taken_as_it_is() -> None:
    recipe = a_recipe({"take": {"a": "value.b"}}, {"take": {"c": "value.b > `1`"}})
    fixed = recipe.fixed({"value": {"b": Decimal("12345678901234567.89")}, "headers": {}})
    assert (fixed["a"], fixed["c"]) == (Decimal("12345678901234567.89"), True)


def test_a_number_is_no_text_of_a_web_event() -> None:
    value = {"id": "e1", "at": 1, "interaction": "product_view", "page": "/", "product_id": Decimal("7.5")}
    with pytest.raises(PoisonEvent, match="product_id: Expected `str"):
        made(event("web.interaction"), value, LETTER, Anybody())


def test_a_row_of_csv_has_the_columns_that_the_recipe_names() -> None:
    assert parsed(b'a,"b,c"\n', "csv", ("x", "y")) == {"x": "a", "y": "b,c"}
    with pytest.raises(PoisonEvent, match="not one row of 2 columns"):
        parsed(b"a,b,c", "csv", ("x", "y"))


def test_a_customers_address_in_a_letter_never_gets_onto_the_log_and_a_known_customer_stays() -> None:
    class Keys(Anybody):
        def customer(self, source: str, said: str) -> str:
            return f"{source}-customer-of-{len(said)}"

    def customer(said: str) -> Any:
        return made(event("sales.order_refunded"), {"customer_id": said}, LETTER, Keys())["customer_id"]

    assert customer("anna@example.org") == "bikes-customer-of-16"
    assert customer("bikes-1042") == "bikes-1042"
    assert customer("bikes-customer-0123456789abcdef") == "bikes-customer-0123456789abcdef"


def test_a_web_event_belongs_to_the_visit_of_its_batch_and_loses_what_its_address_asks_for() -> None:
    said = {"session_id": "f" * 32, "session_started_ms": "1795770000000", "skew_ms": "2000", "session_campaign": "x"}
    letter = Origin(offset=7, dead_at=DEAD_AT, headers={"source": "bikes", **said})
    value = {"id": "e1", "at": 1795770901500, "interaction": "page_view", "page": "/p?mail=a@b.example", "user_id": "7"}
    record = made(event("web.interaction"), value, letter, Anybody())
    assert (record["session_id"], record["page"], record["user_id"]) == ("f" * 32, "/p", "bikes-7")
    assert record["occurred_at"] == datetime(2026, 11, 27, 9, 15, 3, 500_000, tzinfo=UTC)
    assert record["campaign"] == "x"
    alone = made(event("web.interaction"), value, LETTER, Anybody())
    assert alone["session_id"] != record["session_id"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["7", "1e9", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"abc", "at", "page"]), inner, max_size=4)
    ),
    max_leaves=12,
)
STEPS = st.lists(
    st.sampled_from(
        [
            {"set": {"a.b": {"c": 1}}},
            {"default": {"at": 1, "interaction": "page_view", "page": "/", "id": "e"}},
            {"take": {"a": "value.b[?c=='x'] | [0]", "c": "max_by(value.a, &b)"}},
            {"rename": {"a": "b.c"}},
            {"cast": {"a": "integer", "b": "number", "c": "boolean"}},
            {"cast": {"a": "time", "b": "seconds", "c": "text"}},
            {"parse": {"a": "json", "b": "base64", "c": "query"}},
            {"replace": {"field": "a", "pattern": ".", "by": "x"}},
            {"map": {"field": "a", "values": {"7": [1.5]}}},
            {"keep": ["a", "at", "page", "id", "interaction"]},
            {"drop": ["a.b", "c"]},
        ]
    ),
    min_size=1,
    max_size=5,
)


@given(depth=st.integers(1, 3_000), wished=STEPS, of=st.sampled_from(["[]", "{}"]), at=st.sampled_from(["a", "at"]))
def test_however_deep_a_letter_is_a_recipe_makes_an_event_or_refuses_it(
    depth: int, wished: Any, of: str, at: str
) -> None:
    begin, end = ('{"a":', "}") if of == "{}" else ("[", "]")
    deep = begin * depth + "1" + end * depth
    value = '{"%s": %s, "id": "e", "interaction": "page_view", "page": "/"}' % (at, deep)  # noqa: UP031
    for to in ("web.interaction", "marketing.spend_stated"):
        try:
            recipe = a_recipe(*wished, {"take": {"c": "value.*.a"}}, event=to)
            found = {"value": recipe.parsed(value.encode()), "headers": {}}
            recipe.is_for(to, found)
            Encoder(event(to), 1).encode(made(event(to), recipe.fixed(found), LETTER, Anybody()))
        except PoisonEvent:
            pass


def test_a_time_that_no_calendar_has_is_refused() -> None:
    said = {"session_id": "s", "session_started_ms": "-99999999999999"}
    letter = Origin(offset=7, dead_at=DEAD_AT, headers={"source": "bikes", **said})
    value = {"id": "e1", "at": 1795770901500, "interaction": "page_view", "page": "/"}
    with pytest.raises(PoisonEvent, match="a time out of range"):
        made(event("web.interaction"), value, letter, Anybody())


@pytest.mark.fuzz(inputs=20_000)
@given(value=JSON, wished=STEPS, to=st.sampled_from(["web.interaction", "sales.order_placed", "finance.cost_stated"]))
def test_whatever_a_letter_holds_a_recipe_makes_an_event_or_refuses_it(value: Any, wished: Any, to: str) -> None:
    contract = event(to)
    recipe = a_recipe(*wished, event=to)
    try:
        found = recipe.parsed(json.dumps(value).encode())
        fixed = recipe.fixed({"value": found, "headers": {}})
        record = made(contract, fixed, LETTER, Anybody())
        Encoder(contract, 1).encode(record)
    except PoisonEvent:
        return
    assert record["event_id"]


@pytest.mark.fuzz(inputs=20_000)
@given(value=st.binary(max_size=64))
def test_bytes_of_any_kind_are_read_or_refused(value: bytes) -> None:
    for form in ("json", "csv", "text"):
        try:
            parsed(value, form, ("a", "b"))
        except PoisonEvent:
            pass
