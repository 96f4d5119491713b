"""What is read out of a batch, and what is said of one that is wrong. Limits and keys, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.collect import keys
from producers.collect.batch import MOST_EVENTS, BadBatch, read
from producers.collect.collector import TRACKER_GZIP, is_bot
from producers.collect.limits import MOST_BUCKETS, Buckets, Limit
from schemas.errors import Misconfigured

EVENT = {"id": "e1", "at": 1_700_000_000_000, "interaction": "page_view", "page": "/"}
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


def body(*events: Any, **more: Any) -> bytes:
    return json.dumps({"sent_at": 1_700_000_000_000, "events": list(events), **more}).encode()


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"interaction": "buy"}, "interaction", "Invalid enum value"),
        ({"page": ""}, "page", "length >= 1"),
        ({"page": 5}, "page", "Expected `str`, got `int`"),
        ({"at": -1}, "at", ">= 0"),
        ({"at": 1.5}, "at", "Expected `int`"),
        ({"id": "x" * 65}, "id", "length <= 64"),
        ({"prodct_id": "P1"}, "prodct_id", "is not a known field"),
        ({"interaction": "product_view"}, "product_id", "is missing, and product_view needs it"),
        ({"interaction": "add_to_cart"}, "product_id", "is missing"),
        ({"interaction": "purchase"}, "order_id", "is missing"),
        ({"user_id": "ann@mail.example"}, "user_id", "looks like an e-mail address"),
    ],
)
def test_an_event_that_is_wrong_is_named_and_the_others_are_taken(
    change: dict[str, Any], field: str, reason: str
) -> None:
    batch = read(body(EVENT, {**EVENT, **change}, EVENT))
    assert [index for index, _, _ in batch.events] == [0, 2]
    (refused,) = batch.refused
    told = refused.told()
    assert (told["index"], told["field"]) == (1, field)
    assert reason in str(told["reason"])
    assert json.loads(refused.original) == {**EVENT, **change}


def test_a_field_that_is_missing_is_named() -> None:
    (refused,) = read(body({"id": "e1", "at": 1, "interaction": "page_view"})).refused
    assert refused.told() == {"index": 0, "field": "page", "reason": "is missing"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (body(), "events"),
        (body(*[EVENT] * (MOST_EVENTS + 1)), "events"),
        (b'{"events": [{}]}', "sent_at"),
        (body(EVENT, key="x"), "key"),
        (body(EVENT, visitor=""), "visitor"),
        (b'{"events": ' + b"[" * 100_000, ""),
        (b'{"sent_at": 1, "events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", ""),
    ],
)
def test_what_is_no_batch_is_refused_whole(text: bytes, field: str) -> None:
    with pytest.raises(BadBatch) as refused:
        read(text)
    assert refused.value.field == field


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ANY_EVENT = st.dictionaries(st.sampled_from([*EVENT, "product_id", "user_id", "campaign"]), ANY_JSON).map(
    lambda change: {**EVENT, **change}
)


@pytest.mark.fuzz
@given(st.binary() | st.lists(ANY_EVENT | ANY_JSON, max_size=5).map(lambda events: body(*events)))
def test_every_event_of_any_body_is_taken_or_refused(text: bytes) -> None:
    try:
        batch = read(text)
    except BadBatch:
        return
    sent = json.loads(text)["events"]
    places = [index for index, _, _ in batch.events] + [each.told()["index"] for each in batch.refused]
    assert sorted(places, key=int) == list(range(len(sent)))  # type: ignore[call-overload]
    assert all(each.told()["reason"] for each in batch.refused)


def test_a_bucket_holds_a_burst_and_fills_at_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(Limit(per_second=10, burst=100), lambda: now[0])
    assert buckets.wait("a", 100) == 0
    assert buckets.wait("a", 5) == 0.5
    assert buckets.wait("b", 5) == 0
    now[0] = 0.4
    assert buckets.wait("a", 5) == pytest.approx(0.1)
    now[0] = 0.5
    assert buckets.wait("a", 5) == 0
    assert buckets.wait("a", 1) == pytest.approx(0.1)
    now[0] = 100
    assert buckets.wait("a", 1_000) == 0  # more than ever fits waits for a full one


def test_buckets_are_forgotten_before_they_are_too_many() -> None:
    buckets = Buckets(Limit(per_second=1, burst=10), lambda: 0.0)
    for n in range(MOST_BUCKETS + 100):
        assert buckets.wait(str(n), 1) == 0
    assert len(buckets._left) == MOST_BUCKETS


def test_a_key_is_its_owners_only_to_change_and_is_found_by_its_name(tmp_path: Path) -> None:
    made = keys.add(tmp_path, "bikes", ["https://Bikes.example/", "http://127.0.0.1:8000"])
    assert made.origins == {"https://bikes.example", "http://127.0.0.1:8000"}
    assert keys.listed(tmp_path) == [made]
    assert oct((tmp_path / keys.FILE).stat().st_mode)[-3:] == "600"
    with pytest.raises(Misconfigured, match="bikes has a key already"):
        keys.add(tmp_path, "bikes", [])
    with pytest.raises(Misconfigured, match="there is no key named 'chains'; there are: bikes"):
        keys.remove(tmp_path, "chains")
    keys.remove(tmp_path, "bikes")
    assert keys.listed(tmp_path) == []
    assert keys.add(tmp_path, "bikes", []).key != made.key


@pytest.mark.parametrize("text", ["bikes.example", "ftp://a.b", "https://a.b/shop", "https://", "https://u:p@a.b"])
def test_what_is_no_origin_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="is not the origin of pages"):
        keys.add(tmp_path, "bikes", [text])


def test_a_bot_is_known_by_its_user_agent() -> None:
    assert is_bot("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
    assert is_bot("")
    assert not is_bot(CHROME)


def test_the_tracker_is_small() -> None:
    assert len(TRACKER_GZIP) < 4_096
