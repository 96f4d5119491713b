"""What a feed's message says of vehicles: the positions that can be believed, and why others can't.

https://gtfs.org/documentation/realtime/reference/ describes the message. Its entities are found first and decoded one
by one: a broken one costs no other, and a few bytes can't become gigabytes of objects.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from google.transit.gtfs_realtime_pb2 import FeedEntity, FeedHeader, VehiclePosition

from schemas.errors import PoisonEvent

HEADER_FIELD: Final = 1
ENTITY_FIELD: Final = 2
FIXED_BYTES: Final = {1: 8, 5: 4}  # of the kinds of fields whose length is not stated
VARINT: Final = 0
WITH_LENGTH: Final = 2
MOST_ENTITIES: Final = 20_000
MOST_FIELDS: Final = 2 * MOST_ENTITIES  # of a message, whatever they are
LARGEST_ENTITY: Final = 65_536  # bytes; a position has some hundred
LONGEST_NAME: Final = 200  # characters of an id
MOST_AHEAD_SECONDS: Final = 300
OLDEST_SECONDS: Final = 86_400
FASTEST: Final = 200.0  # metres a second: no train is as fast
FULL_TURN: Final = 360.0
NO_PROTOBUF: Final = "it is no protobuf; check the address"
CUT_OFF: Final = "it was cut off"
OLDER: Final = "older than what was published"  # no fault: a count of what is left out


class UnreadableFeed(PoisonEvent):
    """The whole answer is no message of a GTFS-Realtime feed. The text is the reason, the same for all that have it.

    ``detail`` is where and how much.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class Doubtful(PoisonEvent):
    """An entity that is not published. The text is the reason, the same for all that have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a vehicle was. ``at`` is in seconds since 1970; ``is_own_time``: the vehicle stated it, not the message."""

    vehicle: str
    at: int
    is_own_time: bool
    latitude: float
    longitude: float
    bearing: float | None
    speed: float | None
    trip_id: str | None
    route_id: str | None


@dataclass(slots=True)
class Found:
    """What a message had. The counts' sum, with the positions, is the number of its entities.

    Attributes:
        positions: of each vehicle one.
        left_out: how many entities were not taken, by the reason.
        examples: for each reason that is a fault, the first entity's bytes.
    """

    positions: list[Position] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)


def read(body: bytes, now: float) -> Found:
    """The positions in a message, ``now`` in seconds since 1970. Raises UnreadableFeed."""
    header, entities = _parts(body)
    found, of_vehicles = Found(), dict[str, Position]()
    for raw in entities:
        try:
            position = _position(raw, header, now)
            if position is None:
                found.left_out["no vehicle"] += 1
                continue
            before = of_vehicles.setdefault(position.vehicle, position)
            if before is not position:
                of_vehicles[position.vehicle] = _newer(before, position)
                found.left_out[OLDER] += 1
        except Doubtful as error:
            found.left_out[str(error)] += 1
            found.examples.setdefault(str(error), raw)
    found.positions.extend(of_vehicles.values())
    return found


def _newer(first: Position, second: Position) -> Position:
    """Of two positions of a vehicle in one message the newer. Raises Doubtful when they don't say."""
    if not (first.is_own_time and second.is_own_time) or first.at == second.at:
        raise Doubtful("its vehicle has another position in the same message")
    return max(first, second, key=lambda position: position.at)


def _parts(body: bytes) -> tuple[FeedHeader, list[bytes]]:
    header: FeedHeader | None = None
    entities: list[bytes] = []
    for number, value in fields(body):
        if number == HEADER_FIELD:
            try:
                header = FeedHeader.FromString(value)
            except DecodeError as error:
                raise UnreadableFeed("its header is broken", str(error)) from error
        elif number == ENTITY_FIELD:
            if len(entities) == MOST_ENTITIES:
                raise UnreadableFeed(f"it has more than {MOST_ENTITIES:,} entities")
            entities.append(value)
    if header is None:
        raise UnreadableFeed("it has no header of a GTFS-Realtime feed; check the address")
    return header, entities


def fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that state their length, by number; others are passed over. Raises UnreadableFeed.

    https://protobuf.dev/programming-guides/encoding/
    """
    at = count = 0
    while at < len(body):
        if (count := count + 1) > MOST_FIELDS:
            raise UnreadableFeed(f"it has more than {MOST_FIELDS:,} fields")
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, at = _varint(body, at)
            continue
        if kind == WITH_LENGTH:
            length, at = _varint(body, at)
        elif kind in FIXED_BYTES:
            length = FIXED_BYTES[kind]
        else:
            raise UnreadableFeed(NO_PROTOBUF, f"byte {at:,} begins a field of kind {kind}")
        if at + length > len(body):
            raise UnreadableFeed(
                CUT_OFF, f"a field at byte {at:,} has {length:,} bytes, and {len(body) - at:,} are left"
            )
        if kind == WITH_LENGTH:
            yield number, body[at : at + length]
        at += length


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + 10, len(body))):
        value |= (body[place] & 0x7F) << shift
        if body[place] < 0x80:
            return value, place + 1
        shift += 7
    raise UnreadableFeed(NO_PROTOBUF if at + 10 <= len(body) else CUT_OFF, f"at byte {at:,} is no number")


def _position(raw: bytes, header: FeedHeader, now: float) -> Position | None:
    """What the entity says; None when it is about no vehicle. Raises Doubtful."""
    if len(raw) > LARGEST_ENTITY:
        raise Doubtful(f"it is larger than {LARGEST_ENTITY:,} bytes")
    try:
        entity = FeedEntity.FromString(raw)
    except DecodeError as error:
        raise Doubtful("it is broken") from error
    if not entity.HasField("vehicle") or entity.is_deleted:
        return None
    vehicle = entity.vehicle
    at, is_own_time = _time(vehicle, header, now)
    latitude, longitude = _place(vehicle)
    bearing, speed = vehicle.position.bearing, vehicle.position.speed
    return Position(
        vehicle=_name(vehicle, entity),
        at=at,
        is_own_time=is_own_time,
        latitude=latitude,
        longitude=longitude,
        bearing=bearing if vehicle.position.HasField("bearing") and 0 <= bearing <= FULL_TURN else None,
        speed=speed if vehicle.position.HasField("speed") and 0 <= speed <= FASTEST else None,
        trip_id=_short(vehicle.trip.trip_id),
        route_id=_short(vehicle.trip.route_id),
    )


def _name(vehicle: VehiclePosition, entity: FeedEntity) -> str:
    name = _text(vehicle.vehicle.id) or _text(entity.id)
    if not name:
        raise Doubtful("it has no vehicle id and no id")
    if len(name) > LONGEST_NAME:
        raise Doubtful(f"its id has more than {LONGEST_NAME} characters")
    return name


def _short(said: object) -> str | None:
    return _text(said)[:LONGEST_NAME] or None


def _text(said: object) -> str:
    if not isinstance(said, str):  # the bindings give bytes that are no text as they are
        raise Doubtful("an id is no UTF-8")
    if "\0" in said:
        raise Doubtful("an id has U+0000, which Postgres can't store")
    return said


def _time(vehicle: VehiclePosition, header: FeedHeader, now: float) -> tuple[int, bool]:
    at = vehicle.timestamp or header.timestamp
    if not at:
        raise Doubtful("neither it nor the message has a time")
    if at > now + MOST_AHEAD_SECONDS:
        raise Doubtful(f"its time is more than {MOST_AHEAD_SECONDS} s ahead of this machine's clock")
    if at < now - OLDEST_SECONDS:
        raise Doubtful("its time is more than a day ago")
    return at, bool(vehicle.timestamp)


def _place(vehicle: VehiclePosition) -> tuple[float, float]:
    if not vehicle.HasField("position"):
        raise Doubtful("it has no position")
    latitude, longitude = vehicle.position.latitude, vehicle.position.longitude
    if not (math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):  # noqa: PLR2004
        raise Doubtful("its position is nowhere on earth")
    if latitude == 0 and longitude == 0:
        raise Doubtful("its position is 0, 0, which trackers send that know none")
    return latitude, longitude
