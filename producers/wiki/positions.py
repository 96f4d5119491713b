"""Where a message stands in the stream: its id is a list of times in milliseconds, one for each part of the stream."""

from __future__ import annotations

import json
from typing import Any, Final

LONGEST: Final = 4_096  # characters
OVERLAP_MS: Final = 1_000  # of what is read again, when that is cut, too: several changes share a time


class BadPosition(ValueError):
    """A message's id does not say where it stands in the stream."""


def checked(position: str, now: float) -> str:
    """The position, if one can go on from it; ``now`` in seconds since 1970. Raises BadPosition."""
    if len(position) > LONGEST:
        raise BadPosition(f"the message's id has {len(position):,} characters; {LONGEST:,} are the limit")
    return _written(_parts(position, int(now * 1000)))


def furthest(kept: str | None, said: str) -> str:
    """The parts of ``said``, each where it or ``kept`` is later: what is read again after a cut leads back nowhere."""
    before = _times(kept)
    return _written([_at(part, max(part.get("timestamp", 0), before.get(_name(part), 0))) for part in _parts(said)])


def resumed(kept: str, reached: str | None, seconds: int) -> str:
    """Where to go on: so many seconds before ``kept``.

    ``reached`` is where the connection before ended. If that was still within these seconds, it goes on from there: a
    server that cuts often would else never get past them.
    """
    ended = _times(reached)
    found = []
    for part in _parts(kept):
        newest, at = part.get("timestamp", 0), ended.get(_name(part), 0)
        again = at - OVERLAP_MS if at < newest else 0
        found.append(_at(part, max(newest - seconds * 1000, again, 0) if newest else 0))
    return _written(found)


def _times(position: str | None) -> dict[tuple[Any, Any], int]:
    parts = _parts(position) if position is not None else []
    return {_name(part): part["timestamp"] for part in parts if "timestamp" in part}


def _name(part: dict[str, Any]) -> tuple[Any, Any]:
    return part["topic"], str(part.get("partition"))


def _at(part: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """The part with this time; one without any has an offset, and nothing yet."""
    has_time = at_ms > 0 or "timestamp" in part
    names = ("topic", "partition") if has_time else ("topic", "partition", "offset")
    found = {name: part[name] for name in names if name in part}
    return found | ({"timestamp": at_ms} if has_time else {})


def _written(parts: list[dict[str, Any]]) -> str:
    return json.dumps(parts, separators=(",", ":"))


def _parts(position: str, latest_ms: int | None = None) -> list[dict[str, Any]]:
    try:
        parts = json.loads(position)
    except (ValueError, RecursionError) as error:
        raise BadPosition(f"the message's id is no JSON: {position[:200]!r}") from error
    if not isinstance(parts, list) or not parts:
        raise BadPosition(f"the message's id is no list of positions: {position[:200]!r}")
    return [_part(part, latest_ms) for part in parts]


def _part(part: Any, latest_ms: int | None) -> dict[str, Any]:
    if not isinstance(part, dict) or not isinstance(part.get("topic"), str):
        raise BadPosition("a position names no topic")
    at = part.get("timestamp")
    if at is None:
        return {name: value for name, value in part.items() if name != "timestamp"}
    if type(at) is not int or at < 0:
        raise BadPosition(f"a position's timestamp is {at!r:.100}")
    if latest_ms is not None and at > latest_ms:
        raise BadPosition(f"a position's timestamp, {at}, is in the future; if it isn't, correct this machine's clock")
    return part
