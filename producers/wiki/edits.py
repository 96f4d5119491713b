"""What is an edit among the changes that the stream tells of, and what an edit says. No network, no state.

https://schema.wikimedia.org/#!/primary/jsonschema/mediawiki/recentchange describes the changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from producers.shop.identifiers import envelope
from schemas.errors import PoisonEvent

EDITS: Final = frozenset({"edit", "new"})  # and not categorize, log, external: a page's text does not change by these
CANARY: Final = "canary"  # the domain of changes that only prove that the stream is alive
LATEST_MS: Final = 253_402_300_799_999  # the last millisecond of the year 9999
T = TypeVar("T")


class UnreadableChange(PoisonEvent):
    """A message of the stream is no change, or no edit that can be told. The text says why."""


class Meta(msgspec.Struct):
    """About the change as a message."""

    domain: str = ""
    uri: str = ""


class Change(msgspec.Struct):
    """What every change says of itself, whatever it is."""

    type: str
    meta: Meta


class Lengths(msgspec.Struct):
    """Bytes of a page's text."""

    old: int | None = None
    new: int | None = None


class Revision(msgspec.Struct):
    """A page's revisions by their numbers: the one that the edit made."""

    new: int


class Edit(msgspec.Struct):
    """An edit, as the stream tells it: the fields that are published."""

    meta: Meta
    wiki: str
    title: str
    user: str
    bot: bool
    timestamp: int
    revision: Revision
    minor: bool = False
    length: Lengths | None = None
    notify_url: str = ""


def change(data: bytes) -> Change:
    """What a message tells of. Raises UnreadableChange."""
    return _decoded(data, Change)


def is_edit(told: Change) -> bool:
    """Whether a page was edited or created."""
    return told.type in EDITS and not is_canary(told)


def is_canary(told: Change) -> bool:
    """Whether nothing happened on a wiki: the operators send such changes to see that the stream works."""
    return told.meta.domain == CANARY


def key(data: bytes) -> bytes:
    """By which a message that is no event is known again. Its own id would not do: servers leave it empty."""
    return hashlib.blake2b(data, digest_size=16).digest()


def record(data: bytes, source: str, pseudonym: Callable[[str], str]) -> dict[str, Any]:
    """The event of an edit; ``pseudonym`` makes one of the editor's name. Raises UnreadableChange.

    Its id comes from the wiki and the revision, so it is the same however often, and in whichever message, the edit is
    told. The stream has no page id: a page is its wiki and title.
    """
    edit = _decoded(data, Edit)
    if not edit.wiki or not edit.title:
        raise UnreadableChange("the edit has no wiki or no title")
    if not 0 <= edit.timestamp * 1000 <= LATEST_MS:
        raise UnreadableChange(f"the edit's timestamp is {edit.timestamp}, which is no time in seconds since 1970")
    length = edit.length or Lengths()
    return {
        **envelope(source, f"{edit.wiki}:{edit.revision.new}", edit.timestamp * 1000),
        "page_id": f"{edit.wiki}:{edit.title}",
        "wiki": edit.wiki,
        "title": edit.title,
        "user_name": pseudonym(edit.user),
        "is_bot": edit.bot,
        "is_minor": edit.minor,
        "old_length": length.old,
        "new_length": length.new,
        "url": edit.notify_url or edit.meta.uri,
    }


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnreadableChange(f"the message is no {kind.__name__.lower()} of a page: {error}") from error
