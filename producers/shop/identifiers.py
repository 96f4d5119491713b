"""UUIDs of version 7 (RFC 9562) that are the same when the same event is generated again, and other identifiers."""

from __future__ import annotations

import hashlib
from typing import Any

from schemas.binary import EPOCH, MILLISECOND


def tail_prefix(bits: int) -> str:
    """58 bits of chance as the middle of a version 7 UUID; ``event_id`` adds the time and a counter."""
    return f"7{bits >> 46 & 0xFFF:03x}-{0x8000 | bits >> 32 & 0x3FFF:04x}-{bits & 0xFFFFFFFF:08x}"


def event_id(at_ms: int, prefix: str, counter: int) -> str:
    """The id of an event at a time in milliseconds. Distinct for distinct (prefix, counter), counter below 65,536."""
    return "%08x-%04x-%s%04x" % (at_ms >> 16, at_ms & 0xFFFF, prefix, counter)  # noqa: UP031 the fastest way


def event_id_of(source: str, key: str, at_ms: int) -> str:
    """The id of the event that ``key`` names within its source, the same whenever and however it is read."""
    digest = hashlib.blake2b(f"{source}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return event_id(at_ms, tail_prefix(int.from_bytes(digest, "big") & ((1 << 58) - 1)), 0)


def envelope(source: str, key: str, at_ms: int) -> dict[str, Any]:
    """The fields that every event has; ``key`` names it within its source."""
    return {
        "event_id": event_id_of(source, key, at_ms),
        "occurred_at": EPOCH + at_ms * MILLISECOND,
        "source": source,
        "trace": None,
    }


def digest_of(said: object) -> bytes:
    """A short name of what an event says, by which a state is told from the one before."""
    return hashlib.blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=8).digest()
