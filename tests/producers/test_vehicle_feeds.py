"""Feeds of vehicles: their names and addresses, how large a message may be, and what is remembered of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.scraping.fetching import NOTHING
from producers.vehicles import positions
from producers.vehicles import source as vehicles
from producers.vehicles.feeds import feeds
from producers.vehicles.memory import Memory, Report
from producers.vehicles.positions import UnreadableFeed
from schemas.errors import Misconfigured
from tests.shops.transit import START, Transit


def test_waits_grow_while_a_feed_is_away_and_follow_its_wish() -> None:
    assert [vehicles.wait_seconds(15, n, 0, 0.0) for n in (0, 1, 2, 20)] == [15, 30, 60, 600]
    assert vehicles.wait_seconds(15, 1, 120, 0.0) == 120
    assert vehicles.wait_seconds(15, 1, 1e9, 0.0) == 3_600
    assert vehicles.wait_seconds(900, 3, 0, 0.0) == 900


def test_a_message_of_too_many_entities_is_refused_before_they_become_objects() -> None:
    server = Transit(0)
    body = server.feed.SerializeToString() + b"\x12\x00" * 20_001
    with pytest.raises(UnreadableFeed, match="more than 20,000 entities"):
        positions.read(body, START)


@pytest.mark.parametrize("field", [b"\x18\x00", b"\x1a\x00"])
def test_a_message_of_too_many_fields_is_refused_without_looking_at_the_rest(field: bytes) -> None:
    body = Transit(0).feed.SerializeToString() + field * 40_001 + b"\xff"
    with pytest.raises(UnreadableFeed, match="more than 40,000 fields"):
        positions.read(body, START)


def test_state_is_bounded_by_age_and_number(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "s", most_vehicles=3)
    for now in range(5):
        memory.polled("f", NOTHING, {str(now): Report(digest=b"1", own_time=now)}, [], float(now))
    assert set(memory.reports("f")) == {"2", "3", "4"}
    memory.polled("f", NOTHING, {}, [], 86_403.5)
    assert set(memory.reports("f")) == {"4"}


def test_a_feeds_name_is_given_or_its_address_without_what_may_be_a_key() -> None:
    found = feeds(["https://a.example/rt/positions?key=secret", "city=https://b.example/?key=secret"])
    assert [feed.name for feed in found] == ["a.example/rt/positions", "city"]
    assert "secret" not in repr(found)
    timed_out = found[0].without_address("Connection timeout to host https://a.example/rt/positions?key=secret x")
    assert timed_out == "Connection timeout to host a.example/rt/positions x"
    for leak in ("https://b.example/x?key=secret", "https://b.example/v2/secret/vp", "'/secret'"):
        assert "secret" not in found[1].without_address(f"leads to {leak}")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "give the feed to read"),
        (["a.example/x"], "is no address"),
        (["ftp://a.example/x"], "is no address"),
        (["https://me:secret@a.example/x"], "is no address"),
        (["https://[::1/x"], "is no address"),
        (["https://a.example:99999/x"], "is no address"),
        (["a=https://a.example/1", "a=https://a.example/2"], "two feeds are called a"),
    ],
)
def test_what_is_no_feed_is_refused_without_showing_a_password(given: list[str], reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason) as refused:
        feeds(given)
    assert "secret" not in str(refused.value)
