"""Positions of vehicles: each report once, and whatever else a feed has accounted for."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from google.transit.gtfs_realtime_pb2 import FeedEntity, FeedMessage
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.scraping import addresses
from producers.scraping.fetching import FetchFailed, HttpFetch, Pace, SiteAway
from producers.sources import source
from producers.vehicles import positions
from producers.vehicles import source as vehicles
from producers.vehicles.feeds import Feed
from producers.vehicles.memory import Memory
from producers.vehicles.positions import Found, UnreadableFeed
from schemas.catalogue import Event
from schemas.codec import Encoder
from schemas.errors import BrokerUnavailable
from tests.shops.transit import START, Transit


@dataclass
class Kept:
    """A publisher without a broker, which refuses what the contract refuses, and may lose its broker once."""

    records: list[dict[str, Any]] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    is_away: bool = False

    def publish(self, event: Event, record: dict[str, Any]) -> None:
        Encoder(event, 1).encode(record)
        self.records.append(record)

    def dead_letter(self, event: Event, original: bytes, *, error: Exception, **_more: object) -> None:
        assert event is vehicles.VEHICLE_MOVED
        self.letters.append(str(error))

    def flush(self) -> None:
        if self.is_away and (self.records or self.letters):
            raise BrokerUnavailable("Kafka is away")


def poll(server: Transit, folder: Path, kept: Kept, *, name: str = "city", times: int = 1) -> list[dict[str, Any]]:
    """A source that starts, and polls so many times. Returns its log."""

    async def run() -> None:
        this = Run(
            source=source("vehicles"),
            options=Options(state=folder),
            publisher=cast(Publisher, kept),
            stop=Stop(),
            log=structlog.get_logger(),
            clock=lambda: server.at,
        )
        memory = Memory(folder / "vehicles.sqlite")
        vehicles.send(this, memory)
        async with addresses.session(addresses.public_or_private) as session:
            fetch = HttpFetch(session, Pace(0.0, asyncio.get_running_loop().time), robot=vehicles.ROBOT)
            reader = vehicles.FeedReader(this, memory, Feed(name, server.address), fetch)
            for _ in range(times):
                await reader.poll()
        memory.close()

    with capture_logs() as logs:
        asyncio.run(run())
    return cast("list[dict[str, Any]]", logs)


def test_every_position_is_published_and_an_unchanged_one_not_again(tmp_path: Path) -> None:
    kept = Kept()
    with Transit(20).serving() as server:
        poll(server, tmp_path, kept)
        assert {record["vehicle_id"] for record in kept.records} == {f"city:bus-{n}" for n in range(20)}
        moved = server.drive(6)
        poll(server, tmp_path, kept)
        poll(server, tmp_path, kept, times=2)
    assert sorted(record["vehicle_id"] for record in kept.records[20:]) == sorted(f"city:{name}" for name in moved)
    assert server.statuses == [200, 200, 304, 304]
    assert server.headers[0]["User-Agent"] == "InsightsHubVehicles/1.0"
    record = kept.records[20]
    assert record["occurred_at"] == datetime.fromtimestamp(START + 15, UTC)
    assert (record["feed"], record["bearing"], record["speed"]) == ("city", 90, 7.5)
    assert record["trip_id"] == f"trip-{record['vehicle_id'].removeprefix('city:')}"
    assert 52.5 < record["latitude"] < 52.7
    assert len({record["event_id"] for record in kept.records}) == 26


def test_two_feeds_have_vehicles_of_their_own(tmp_path: Path) -> None:
    kept = Kept()
    with Transit(3).serving() as server:
        poll(server, tmp_path, kept, name="city")
        poll(server, tmp_path, kept, name="other")
    assert len({record["vehicle_id"] for record in kept.records}) == 6
    assert len({record["event_id"] for record in kept.records}) == 6


def test_a_vehicle_without_a_time_of_its_own_is_published_when_it_moves_only(tmp_path: Path) -> None:
    kept, server = Kept(), Transit(2)
    for entity in server.feed.entity:
        entity.vehicle.ClearField("timestamp")
    with server.serving():
        poll(server, tmp_path, kept)
        server.drive(0)
        poll(server, tmp_path, kept)
        assert server.statuses == [200, 200]
        assert len(kept.records) == 2
        server.feed.entity[1].vehicle.position.longitude += 1
        poll(server, tmp_path, kept)
    assert [record["vehicle_id"] for record in kept.records] == ["city:bus-0", "city:bus-1", "city:bus-1"]
    assert kept.records[2]["occurred_at"] == datetime.fromtimestamp(START + 15, UTC)


def test_an_older_report_than_the_published_one_is_left_out(tmp_path: Path) -> None:
    kept, server = Kept(), Transit(1)
    with server.serving():
        poll(server, tmp_path, kept)
        server.feed.entity[0].vehicle.timestamp = START - 60
        server.feed.entity[0].vehicle.position.latitude += 1
        (line,) = poll(server, tmp_path, kept)
        assert line["left_out"] == {"older than what was published": 1}
        server.drive(1)
        poll(server, tmp_path, kept)
    assert [record["occurred_at"].timestamp() - START for record in kept.records] == [0, 15]


def test_what_kafka_did_not_acknowledge_is_published_again_under_the_same_ids(tmp_path: Path) -> None:
    kept, server = Kept(is_away=True), Transit(5)
    with server.serving():
        with pytest.raises(BrokerUnavailable):
            poll(server, tmp_path, kept)
        kept.is_away = False
        server.drive(0)
        poll(server, tmp_path, kept, times=2)
    assert len(kept.records) == 10
    assert len({record["event_id"] for record in kept.records}) == 5


@pytest.mark.parametrize(("fault", "reason"), [("cut", "was cut off"), ("page", "no "), ("random", "no ")])
def test_an_answer_that_is_no_feed_is_one_dead_letter_and_the_next_one_is_read(
    tmp_path: Path, fault: Any, reason: str
) -> None:
    kept, server = Kept(), Transit(3)
    server.faults = [fault, fault]
    with server.serving():
        poll(server, tmp_path, kept, times=1)
        assert kept.records == []
        server.faults = [fault] if fault != "random" else []
        poll(server, tmp_path, kept, times=2)
    assert len(kept.records) == 3
    assert kept.letters
    assert len(kept.letters) == 1
    assert reason in kept.letters[0]


@pytest.mark.parametrize("fault", ["429", "500", "packed bomb"])
def test_a_site_that_gives_no_feed_is_no_dead_letter_and_is_asked_again(tmp_path: Path, fault: Any) -> None:
    kept, server = Kept(), Transit(3)
    server.faults = [fault]
    with server.serving():
        with pytest.raises((FetchFailed, SiteAway)) as failed:
            poll(server, tmp_path, kept)
        poll(server, tmp_path, kept)
    assert failed.value.after_seconds == (0 if fault == "packed bomb" else 120)
    assert (len(kept.records), kept.letters) == (3, [])


def spoil(change: Callable[[FeedEntity], object]) -> Found:
    server = Transit(2)
    change(server.feed.entity[0])
    return positions.read(server.feed.SerializePartialToString(), START)


def _place(latitude: float, longitude: float) -> Callable[[FeedEntity], object]:
    def change(entity: FeedEntity) -> None:
        entity.vehicle.position.latitude, entity.vehicle.position.longitude = latitude, longitude

    return change


def _time(at: int) -> Callable[[FeedEntity], object]:
    return lambda entity: setattr(entity.vehicle, "timestamp", at)


def _unnamed(entity: FeedEntity) -> None:
    entity.ClearField("id")
    entity.vehicle.vehicle.ClearField("id")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_place(math.nan, 13.0), "nowhere on earth"),
        (_place(52.0, math.inf), "nowhere on earth"),
        (_place(91.0, 13.0), "nowhere on earth"),
        (_place(52.0, -181.0), "nowhere on earth"),
        (_place(0.0, 0.0), "0, 0"),
        (lambda entity: entity.vehicle.ClearField("position"), "no position"),
        (_unnamed, "no vehicle id and no id"),
        (lambda entity: setattr(entity.vehicle.vehicle, "id", "x" * 201), "more than 200 characters"),
        (lambda entity: setattr(entity.vehicle.trip, "route_id", "\0"), "U+0000"),
        (_time(START + 301), "300 s ahead"),
        (_time(2**63), "300 s ahead"),
        (_time(START - 86_401), "a day ago"),
        (lambda entity: setattr(entity.vehicle.trip, "trip_id", "x" * 70_000), "larger than 65,536 bytes"),
    ],
)
def test_a_position_that_cannot_be_believed_is_left_out_with_its_reason(
    change: Callable[[FeedEntity], object], reason: str
) -> None:
    found = spoil(change)
    assert [position.vehicle for position in found.positions] == ["bus-1"]
    ((text, count),) = found.left_out.items()
    assert reason in text
    assert (count, list(found.examples)) == (1, [text])


def test_without_any_time_nothing_is_published() -> None:
    server = Transit(1)
    server.feed.header.ClearField("timestamp")
    server.feed.entity[0].vehicle.ClearField("timestamp")
    found = positions.read(server.feed.SerializeToString(), START)
    assert found.left_out == {"neither it nor the message has a time": 1}


def test_the_entitys_id_stands_for_a_missing_vehicle_id() -> None:
    found = spoil(lambda entity: entity.vehicle.vehicle.ClearField("id"))
    assert found.positions[0].vehicle == "entity-bus-0"


def test_a_bearing_or_speed_that_is_none_is_null_and_the_position_counts() -> None:
    for bearing, speed in ((math.nan, -1.0), (361.0, math.inf), (-1.0, 1e9)):

        def change(entity: FeedEntity, bearing: float = bearing, speed: float = speed) -> None:
            entity.vehicle.position.bearing, entity.vehicle.position.speed = bearing, speed

        position = spoil(change).positions[0]
        assert (position.bearing, position.speed) == (None, None)


def test_a_vehicle_that_is_named_twice_counts_once_and_others_are_no_vehicles() -> None:
    server = Transit(2)
    server.add("bus-0")
    server.feed.entity.add(id="alert").alert.header_text.translation.add(text="Closed")
    server.feed.entity.add(id="gone", is_deleted=True)
    found = positions.read(server.feed.SerializeToString(), START)
    assert len(found.positions) == 2
    assert found.left_out == {"its vehicle has another position in the same message": 1, "no vehicle": 2}


def test_a_fault_that_stays_is_one_dead_letter_until_it_was_away(tmp_path: Path) -> None:
    kept, server = Kept(), Transit(3)
    with server.serving():
        for latitude in (95.0, 96.0, 52.0, 97.0):
            server.drive(0)
            server.feed.entity[0].vehicle.position.latitude = latitude
            poll(server, tmp_path, kept)
    assert kept.letters == ["city: its position is nowhere on earth"] * 2


def test_of_a_vehicles_positions_in_a_message_the_newest_is_taken(tmp_path: Path) -> None:
    kept, server = Kept(), Transit(1, at=START - 60)
    server.at = START
    server.add("bus-0", at=START)
    server.add("bus-0", at=START - 30)
    with server.serving():
        (line,) = poll(server, tmp_path, kept)
    assert [record["occurred_at"].timestamp() for record in kept.records] == [START]
    assert line["left_out"] == {"older than what was published": 2}
    assert kept.letters == []


def test_a_dead_letter_that_kafka_did_not_acknowledge_is_published_again(tmp_path: Path) -> None:
    kept, server = Kept(is_away=True), Transit(1)
    server.faults = ["page"] * 3
    with server.serving():
        with pytest.raises(BrokerUnavailable):
            poll(server, tmp_path, kept)
        kept.is_away, kept.letters = False, []
        poll(server, tmp_path, kept, times=2)
        assert len(kept.letters) == 1
        server.feed.entity[0].vehicle.position.latitude = 95.0
        kept.is_away, kept.letters = True, []
        with pytest.raises(BrokerUnavailable):
            poll(server, tmp_path, kept)
        kept.is_away, kept.letters = False, []
        poll(server, tmp_path, kept, times=2)
    assert kept.letters == ["city: its position is nowhere on earth"]


def is_cut_off(body: bytes) -> bool:
    """Whether it ends within an entity, and not between two."""
    try:
        positions.read(body, START)
    except UnreadableFeed as error:
        return str(error) == positions.CUT_OFF
    return False


def test_a_feed_that_is_cut_anywhere_is_few_dead_letters_and_its_other_faults_stay_told(tmp_path: Path) -> None:
    kept, server = Kept(), Transit(6)
    server.feed.entity[0].vehicle.position.latitude = 95.0
    whole = server.feed.SerializeToString()
    with server.serving():
        poll(server, tmp_path, kept)
        ends = [length for length in range(60, len(whole), 7) if is_cut_off(whole[:length])]
        for length in ends:
            server.body = whole[:length]
            poll(server, tmp_path, kept)
        server.body = None
        poll(server, tmp_path, kept)
    assert len(ends) > 50
    assert kept.letters == ["city: its position is nowhere on earth", "city: it was cut off"]


def test_other_feeds_go_on_while_a_message_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def read(*_: object) -> Found:
        threads.append(threading.current_thread())
        return Found()

    monkeypatch.setattr(positions, "read", read)
    with Transit(1).serving() as server:
        poll(server, tmp_path, Kept())
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


WHOLE = Transit(6).feed.SerializeToString()


@pytest.mark.fuzz
@given(data=st.data())
def test_any_bytes_are_a_feed_or_refused_and_every_entity_is_accounted_for(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["random", "cut", "spoiled", "doubled"]))
    raw = bytearray(data.draw(st.binary(max_size=200)) if kind == "random" else WHOLE)
    if kind == "cut":
        del raw[data.draw(st.integers(0, len(raw))) :]
    if kind == "doubled":
        at = data.draw(st.integers(0, len(raw)))
        raw[at:at] = raw[: data.draw(st.integers(0, len(raw)))]
    for at in data.draw(st.lists(st.integers(0, max(len(raw) - 1, 0)), max_size=4)) if raw else []:
        raw[at] = data.draw(st.integers(0, 255))
    _judged(bytes(raw))


@pytest.mark.fuzz
@given(
    latitude=st.floats(width=32),
    longitude=st.floats(width=32),
    bearing=st.floats(width=32),
    speed=st.floats(width=32),
    at=st.integers(0, 2**64 - 1) | st.integers(START - 90_000, START + 400),
    name=st.text(max_size=210),
)
def test_any_values_are_a_position_that_can_be_published_or_are_left_out(
    latitude: float, longitude: float, bearing: float, speed: float, at: int, name: str
) -> None:
    message = FeedMessage()
    message.CopyFrom(Transit(1).feed)
    vehicle = message.entity[0].vehicle
    vehicle.position.latitude, vehicle.position.longitude = latitude, longitude
    vehicle.position.bearing, vehicle.position.speed, vehicle.timestamp = bearing, speed, at
    try:
        vehicle.vehicle.id = vehicle.trip.route_id = name
    except (ValueError, UnicodeError):
        return
    _judged(message.SerializeToString())


def _judged(raw: bytes) -> None:
    """As the source does, with the contract."""
    try:
        found = positions.read(raw, START)
    except UnreadableFeed:
        return
    entities = sum(number == positions.ENTITY_FIELD for number, _ in positions.fields(raw))
    assert entities == len(found.positions) + sum(found.left_out.values())
    for position in found.positions:
        said = vehicles._report(position)
        record = vehicles._record("vehicles", Feed("f", ""), position, said)
        Encoder(vehicles.VEHICLE_MOVED, 1).encode(record)
