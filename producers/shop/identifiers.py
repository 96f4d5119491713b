"""UUIDs of version 7 (RFC 9562) that come out the same when the same event is drawn again."""

from __future__ import annotations


def tail_prefix(bits: int) -> str:
    """58 bits of chance as the middle of a version 7 UUID; ``event_id`` adds the time and a counter."""
    return f"7{bits >> 46 & 0xFFF:03x}-{0x8000 | bits >> 32 & 0x3FFF:04x}-{bits & 0xFFFFFFFF:08x}"


def event_id(at_us: int, prefix: str, counter: int) -> str:
    """The id of an event at a time in microseconds. Distinct for distinct (prefix, counter), counter below 65,536."""
    millis = f"{at_us // 1000:012x}"
    return f"{millis[:8]}-{millis[8:]}-{prefix}{counter:04x}"
