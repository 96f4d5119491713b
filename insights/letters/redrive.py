"""Publishes the events that dead letters should have been, once each.

A letter's event has the same id however often it is redriven, and a record says which letters were: a second run skips
them. A run that was killed between Kafka's acknowledgement and its record publishes those events once more, with the
same ids, which are counted as duplicates.

Only who reads a connected shop publishes its events (decision 0033): its orders are read again instead.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal, Protocol

from insights.letters.ways import Way, order_of, way_of
from producers.collect.intake import INTERACTION
from producers.connect.rereads import Doubt
from producers.gate.check import check_said
from producers.gate.letters import NAME as GATE
from producers.gate.letters import record_of
from producers.redrive import steps
from producers.redrive.avro import is_framed
from producers.redrive.event import Origin, Persons, as_typed, check_arrival, made
from producers.redrive.recipe import Recipe, parsed
from producers.redrive.steps import CannotFix
from reconciliation.dead_letters import DeadLetter
from reconciliation.redrives import Done, Redrive, State, state_of
from schemas.catalogue import Event, avro_events
from schemas.codec import Record
from schemas.errors import InsightsError, PoisonEvent
from schemas.plural import counted
from schemas.quoted import without_values

CHUNK: Final = 100
MOST_FAILED: Final = 10
OF_THE_FIRST: Final = 100
IN_A_ROW: Final = 20

What = Literal["redriven", "failed", "before", "unfinished", "asked", "waiting", "shop", "file", "page", "gone"]


class StillFailing(InsightsError):
    """Too many letters are refused again: the recipe does not mend them."""


class Publishes(Protocol):
    """What publishes by contract: producers.publisher.Publisher."""

    def check(self, event: Event, record: Record) -> None:
        """Raises PoisonEvent as ``publish`` would."""
        ...

    def publish(self, event: Event, record: Record) -> None:
        """Queue an event."""
        ...

    def flush(self) -> None:
        """Blocks until all is on the log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which letters to redrive, and how. Without a recipe an event is published as it came."""

    topic: str | None = None
    where: str | None = None
    recipe: Recipe | None = None
    is_dry: bool = False
    by: str

    @property
    def digest(self) -> str | None:
        """That of the recipe."""
        return self.recipe.sha256 if self.recipe else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a letter. ``reason`` may quote values; ``event_id`` is that of its event."""

    offset: int
    what: What
    reason: str = ""
    event_id: str | None = None


@dataclass(slots=True)
class Breaker:
    """Stops a run whose letters are refused again: more than 10 of the first 100, or 20 in a row.

    Those that the same recipe failed to fix before are not counted.
    """

    tried: int = 0
    failed: int = 0
    in_a_row: int = 0

    def note(self, is_failed: bool) -> None:
        """Count a letter that was tried."""
        self.tried += 1
        self.in_a_row = self.in_a_row + 1 if is_failed else 0
        if self.tried <= OF_THE_FIRST:
            self.failed += is_failed

    @property
    def reason(self) -> str | None:
        """Why it is open; None while it is not."""
        if self.failed > MOST_FAILED and self.tried <= OF_THE_FIRST:
            return f"{self.failed} of the first {self.tried} were refused again"
        if self.in_a_row >= IN_A_ROW:
            return f"{self.in_a_row} in a row were refused again"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What a run works with.

    ``note`` writes rows of the record, ``ask`` has orders of a shop read again, ``waiting`` names those of a shop that
    will be, ``shops`` are those connected, and ``avro`` reads a letter in Avro that was meant for a topic.
    """

    publisher: Publishes
    persons: Persons
    done: Done
    note: Callable[[Sequence[Redrive]], None]
    ask: Callable[[str, Sequence[Doubt]], object]
    waiting: Callable[[str], frozenset[str]]
    shops: frozenset[str]
    avro: Callable[[str, bytes], Any]
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class _Ready:
    letter: DeadLetter
    event: Event
    record: dict[str, Any]


@dataclass(slots=True)
class Report:
    """What a run did, and the first letter for each reason that kept one from being redriven."""

    counts: Counter[What] = field(default_factory=Counter)
    examples: dict[tuple[What, str], Outcome] = field(default_factory=dict)
    stopped: str | None = None

    def take(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.what] += 1
        self.examples.setdefault((outcome.what, without_values(outcome.reason)), outcome)


def redrive(letters: Iterable[DeadLetter], wish: Wish, servers: Servers) -> Iterator[Outcome]:
    """Redrive those that are wished for, in the order they come; each outcome once it is on disk. Blocks.

    ``letters`` are as insights.privacy.letters gives them, with their bytes. Raises StillFailing when the breaker
    opens: what was not on the log by then is not published. A dry run publishes and notes nothing.
    """
    breaker = Breaker()
    wanted = (each for each in letters if _is_wanted(each, wish, servers))
    while chunk := list(islice(wanted, CHUNK)):
        ready: list[_Ready] = []
        others: list[tuple[DeadLetter, Outcome]] = []
        for letter in chunk:
            one = _tried(letter, wish, servers)
            if isinstance(one, _Ready):
                ready.append(one)
                breaker.note(False)
            else:
                others.append((letter, one))
                # A letter that this failed to fix before says nothing new of it: a later run reaches the next ones.
                if one.what == "failed" and not _was(letter, "failed", wish, servers):
                    breaker.note(True)
            if breaker.reason:
                break
        yield from _settled(others, wish, servers)
        if breaker.reason:
            raise StillFailing(_stopped(breaker.reason, others[-1][1], ready))
        yield from _sent(ready, wish, servers)


def _stopped(why: str, last: Outcome, unsent: Sequence[_Ready]) -> str:
    kept = f" {counted(len(unsent), 'letter')} that passed were kept back." if unsent else ""
    return (
        f"stopped: {why}, the last, {last.offset}, because {without_values(last.reason).rstrip('.')}.{kept}"
        " Correct the recipe, or narrow it with --where; `insights dead-letters show` prints a letter"
    )


def document(letter: DeadLetter, value: Any) -> dict[str, Any]:
    """A letter as a JMESPath expression sees it. ``reason`` quotes no values; headers' ``exception.message`` does."""
    return {
        "offset": letter.offset,
        "dead_at": letter.dead_at.isoformat(),
        "topic": letter.topic.removesuffix(".v1"),
        "error": letter.error.rpartition(".")[2],
        "reason": letter.reason,
        "headers": dict(letter.headers),
        "value": value,
    }


def _read(letter: DeadLetter, recipe: Recipe | None, servers: Servers) -> Any:
    """What a letter's bytes say. Raises PoisonEvent, and RegistryUnavailable for those of Avro."""
    if is_framed(letter.value) and (recipe is None or recipe.read == "json"):
        return servers.avro(letter.topic, letter.value)
    return recipe.parsed(letter.value) if recipe else parsed(letter.value, "json")


def _value(letter: DeadLetter, recipe: Recipe | None, servers: Servers) -> Any:
    """What a letter's bytes say; None when that can't be read."""
    try:
        return _read(letter, recipe, servers)
    except PoisonEvent:
        return None


def _is_wanted(letter: DeadLetter, wish: Wish, servers: Servers) -> bool:
    """Raises CannotFix for a condition that can't be evaluated."""
    if wish.topic is not None and letter.topic not in (wish.topic, f"{wish.topic}.v1"):
        return False
    said = document(letter, _value(letter, wish.recipe, servers))
    if wish.recipe is not None and not wish.recipe.is_for(letter.topic, said):
        return False
    return wish.where is None or steps.holds(wish.where, said)


def _tried(letter: DeadLetter, wish: Wish, servers: Servers) -> _Ready | Outcome:
    try:
        return _considered(letter, wish, servers)
    except PoisonEvent as error:
        return Outcome(offset=letter.offset, what="failed", reason=str(error))


def _was(letter: DeadLetter, state: State, wish: Wish, servers: Servers) -> bool:
    """Whether the latest attempt at a letter was with the same recipe, or also without one, and ended so."""
    row = state_of(letter, servers.done)
    return row is not None and row.state == state and row.recipe_sha256 == wish.digest


def _considered(letter: DeadLetter, wish: Wish, servers: Servers) -> _Ready | Outcome:
    """A letter with its event, or what else there is to say about it. Raises PoisonEvent when it is refused again."""
    row = state_of(letter, servers.done)
    if row is not None and row.state == "redriven":
        return Outcome(offset=letter.offset, what="before", event_id=row.event_id)
    way = way_of(letter)
    if way is not Way.RECIPE:
        return _of_others(letter, way, servers)
    if row is not None and row.state == "sending" and row.recipe_sha256 != wish.digest:
        by = f"the recipe {row.recipe} as it was then" if row.recipe else "no recipe"
        reason = f"an earlier run ended while it published this with {by}; run it that way once more"
        return Outcome(offset=letter.offset, what="unfinished", reason=reason)
    if "truncated.from" in letter.headers:
        raise CannotFix("", f"was cut off: of {letter.headers['truncated.from']} bytes the letter has the first")
    event, record = _event_of(letter, wish.recipe, servers)
    servers.publisher.check(event, record)
    return _Ready(letter, event, record)


def _of_others(letter: DeadLetter, way: Way, servers: Servers) -> Outcome:
    if way is Way.SHOP and (order := order_of(letter)) and (shop := letter.headers["shop"]) in servers.shops:
        return Outcome(offset=letter.offset, what="waiting" if order in servers.waiting(shop) else "asked")
    return Outcome(offset=letter.offset, what=OF_WAY[way])


OF_WAY: Final[Mapping[Way, What]] = {Way.SHOP: "shop", Way.FILE: "file", Way.PAGE: "page", Way.GONE: "gone"}


def _event_of(letter: DeadLetter, recipe: Recipe | None, servers: Servers) -> tuple[Event, dict[str, Any]]:
    name = recipe.event if recipe else letter.topic.removesuffix(".v1")
    event = next((each for each in avro_events() if each.name == name), None)
    if event is None:
        raise CannotFix("", f"was meant for {letter.topic or 'no topic'}, which has no contract; a recipe names one")
    value = _read(letter, recipe, servers)
    fixed = recipe.fixed(document(letter, value)) if recipe else value
    if not isinstance(fixed, dict):
        raise CannotFix("", f"is {type(fixed).__name__}, and an event is an object")
    said = value if isinstance(value, dict) else {}
    headers = letter.headers
    if headers.get("connector.name") == GATE:
        fixed = _of_gate(letter, event, fixed, servers, None if recipe else headers.get("key"))
        headers = {name: text for name, text in headers.items() if name != "source"}
    origin = Origin(offset=letter.offset, dead_at=letter.dead_at, headers=headers, said=said)
    record = made(event, fixed, origin, servers.persons)
    if event is INTERACTION:
        check_arrival(record, origin)
    return event, record


def _of_gate(
    letter: DeadLetter, event: Event, fixed: dict[str, Any], servers: Servers, key: str | None
) -> dict[str, Any]:
    """The value with the id that the gate would have given it. Raises BadMessage for what the gate would refuse.

    The source is the value's: that in the letter's headers is what the stranger said, which a recipe may correct.
    """
    said = as_typed(event.schema, fixed)
    check_said(event, said, servers.shops, None if key is None else key.encode())
    record = record_of(letter.headers)
    if said.get("event_id") is not None or record is None:
        return fixed
    return {**fixed, "event_id": record.event_id(str(said["source"]), said.get("occurred_at"))}


def _settled(others: Sequence[tuple[DeadLetter, Outcome]], wish: Wish, servers: Servers) -> Iterator[Outcome]:
    """Have orders read again, and note what was asked for and what failed."""
    if not wish.is_dry:
        asked: dict[str, list[Doubt]] = {}
        for letter, outcome in others:
            if outcome.what == "asked":
                doubt = Doubt(order_of(letter) or "", order=True, refunds=True)
                asked.setdefault(letter.headers["shop"], []).append(doubt)
        for shop, doubts in asked.items():
            servers.ask(shop, list(dict.fromkeys(doubts)))
        servers.note(
            [
                replace(_row(letter, letter.topic, o.what, wish, servers), reason=without_values(o.reason) or None)
                for letter, o in others
                # What was being sent may be on the log: that it can't be sent now does not open it for another recipe.
                if o.what in ("asked", "failed") and not _was(letter, "sending", wish, servers)
            ]
        )
    yield from (outcome for _, outcome in others)


def _sent(ready: Sequence[_Ready], wish: Wish, servers: Servers) -> Iterator[Outcome]:
    """Publish, and note it; each is on the log when it is yielded."""
    if not wish.is_dry and ready:
        rows = [
            replace(_row(r.letter, r.event.topic, "sending", wish, servers), event_id=r.record["event_id"])
            for r in ready
        ]
        servers.note(rows)
        for one in ready:
            servers.publisher.publish(one.event, one.record)
        servers.publisher.flush()
        servers.note([replace(row, state="redriven") for row in rows])
    yield from (Outcome(offset=r.letter.offset, what="redriven", event_id=r.record["event_id"]) for r in ready)


def _row(letter: DeadLetter, topic: str, state: Any, wish: Wish, servers: Servers) -> Redrive:
    noted: State = state
    return Redrive(
        offset=letter.offset,
        dead_at=letter.dead_at,
        topic=topic,
        state=noted,
        event_id=None,
        recipe=wish.recipe.name if wish.recipe else None,
        recipe_sha256=wish.digest,
        reason=None,
        by=wish.by,
        at=datetime.fromtimestamp(servers.clock(), UTC),
    )
