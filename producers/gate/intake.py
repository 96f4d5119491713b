"""What quixstreams hands the records of the ingress topics to: each becomes an event or a dead letter.

quixstreams commits a partition's offset after ``flush`` returned, so that a record is read again rather than lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from quixstreams.sinks.base import BaseSink

from producers.gate import letters as gate_letters
from producers.gate.check import Checker, Message
from producers.gate.letters import SentLetters
from producers.persons.letters import Letters
from producers.runner import Run
from schemas.catalogue import Event
from schemas.errors import PoisonEvent, Retryable

T = TypeVar("T")
AGAIN_SECONDS: Final = 1.0


class Intake(BaseSink):
    """Takes records. ``checkers`` are by the ingress topic; ``shops`` gives the names of the connected shops."""

    def __init__(
        self,
        this: Run,
        checkers: Mapping[str, tuple[Event, Checker]],
        letters: Letters,
        sent: SentLetters,
        shops: Callable[[], frozenset[str]] = frozenset,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        """``began`` is called once the application runs."""
        super().__init__(on_client_connect_success=lambda: None)
        self._this = this
        self._checkers = checkers
        self._letters = letters
        self._sent = sent
        self._shops = shops
        self._began = began
        self._next: dict[tuple[str, int], int] = {}
        self._unsure: set[tuple[str, int]] = set()

    def setup(self) -> None:
        """Quixstreams calls it when the application runs."""
        self._began()
        self._look()

    def assigned(self) -> None:
        """Partitions are given out anew: another gate may have had any of them, and died before it committed."""
        self._next.clear()

    def _look(self) -> None:
        """Look up who is connected."""
        shops = self._shops()
        for _, checker in self._checkers.values():
            checker.shops = shops

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        """Queue a record's event or letter. Blocks while a server is away; raises DeliveryFailed, and Retryable."""
        message = Message(topic, partition, offset, timestamp, key, value, tuple(headers or ()))
        place = (topic, partition)
        if self._next.get(place) != offset:  # somebody else may have read up to here, and beyond
            self._unsure.add(place)
        self._patiently(lambda: self._take(message))
        self._next[place] = offset + 1

    def flush(self) -> None:
        """Blocks until all that was queued is on the log. Raises DeliveryFailed; Retryable only to stop."""
        self._patiently(self._this.publisher.flush)
        self._look()

    def _take(self, message: Message) -> None:
        event, checker = self._checkers[message.topic]
        try:
            self._this.publish(event, checker.record(message))
        except PoisonEvent as error:
            self._bury(event, checker, message, error)

    def _bury(self, event: Event, checker: Checker, message: Message, error: PoisonEvent) -> None:
        place = (message.topic, message.partition)
        if place in self._unsure:
            self._sent.catch_up(message, {**self._next, place: message.offset})
            self._unsure.discard(place)
        if not self._sent.has(message):
            gate_letters.send(self._letters, event, message, error, *checker.known(message))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Again and again while a server is away. Nothing is committed meanwhile, and nothing is read."""
        publisher = self._this.publisher
        while True:
            try:
                done = work()
            except Retryable as error:
                if not publisher.is_waiting:
                    self._this.log.warning("waiting", reason=str(error))
                publisher.is_waiting = True
                if self._this.stop.wait(AGAIN_SECONDS):
                    raise
            else:
                if publisher.is_waiting:
                    self._this.log.info("goes on")
                publisher.is_waiting = False
                return done
