"""A batch of web events from a page or a shop's server, in JSON. Pure: bytes in, values out.

An invalid event is refused individually, with its index and the wrong field; the others are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.errors import PoisonEvent
from schemas.quoted import named

MOST_EVENTS: Final = 200
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]
Millis = Annotated[int, Meta(ge=0, le=4_102_444_800_000)]  # until 2100
AT_FIELD: Final = re.compile(r" - at `\$\.?(.*)`$")
MISSING: Final = re.compile(r"missing required field `(.*)`")
UNKNOWN: Final = re.compile(r"contains unknown field `(.*)`")
NEEDS: Final = {"product_view": "product_id", "add_to_cart": "product_id", "purchase": "order_id"}


class BadBatch(Exception):
    """The body is no batch, so none of its events is taken."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class BadEvent(PoisonEvent):
    """An event of a batch that can't be counted: the field, and what is wrong with it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field or 'the event'}: {reason}")
        self.field = field
        self.reason = reason


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event, by the clock of who sent it: ``at`` is in milliseconds since 1970."""

    id: Id
    at: Millis
    interaction: Literal["page_view", "product_view", "add_to_cart", "checkout", "purchase"]
    page: Annotated[str, Meta(min_length=1, max_length=2_000)]
    product_id: Text | None = None
    order_id: Text | None = None
    user_id: Text | None = None
    referrer: Text | None = None
    campaign: Text | None = None
    region: Text | None = None


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sent_at: Millis
    events: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_EVENTS)]
    visitor: Id | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused event: its index in the batch, its original bytes, and what is wrong."""

    index: int
    original: bytes
    error: PoisonEvent

    def told(self) -> dict[str, object]:
        """What the sender is answered."""
        field = getattr(self.error, "field", "")
        return {"index": self.index, "field": field, "reason": getattr(self.error, "reason", str(self.error))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was sent at a time of the sender's clock, each event with its place and its bytes as they came."""

    sent_at: int
    visitor: str | None
    events: Sequence[tuple[int, bytes, Sent]]
    refused: Sequence[Refusal]

    @property
    def size(self) -> int:
        """How many events were sent."""
        return len(self.events) + len(self.refused)


_BODIES: Final = msgspec.json.Decoder(_Body)
_EVENTS: Final = msgspec.json.Decoder(Sent)


def read(body: bytes) -> Batch:
    """Raises BadBatch when the body is no batch."""
    try:
        found = _BODIES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadBatch(*_problem(error)) from None
    events: list[tuple[int, bytes, Sent]] = []
    refused: list[Refusal] = []
    for index, raw in enumerate(found.events):
        try:
            events.append((index, bytes(raw), sent(raw)))
        except BadEvent as error:
            refused.append(Refusal(index=index, original=bytes(raw), error=error))
    return Batch(sent_at=found.sent_at, visitor=found.visitor, events=events, refused=refused)


def sent(raw: msgspec.Raw | bytes) -> Sent:
    """One event of a batch. Raises BadEvent."""
    try:
        event = _EVENTS.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(*_problem(error)) from None
    needed = NEEDS.get(event.interaction)
    if needed is not None and getattr(event, needed) is None:
        raise BadEvent(needed, f"is missing, and {event.interaction} needs it")
    if event.user_id is not None and "@" in event.user_id:
        raise BadEvent("user_id", "looks like an e-mail address; send the customer's number")
    return event


def _problem(error: Exception) -> tuple[str, str]:
    """The field, and what is wrong with it, of what msgspec says."""
    if isinstance(error, RecursionError):
        return "", "is nested too deeply"
    text = str(error)
    if found := MISSING.search(text):
        return found[1], "is missing"
    if found := UNKNOWN.search(text):
        return named(found[1]), "is not a known field"
    if found := AT_FIELD.search(text):
        return found[1], text[: found.start()]
    return "", text
