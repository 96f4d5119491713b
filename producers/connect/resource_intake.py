"""From what a shop says of its products and customers to events: what is new in it, each once.

The shop is always asked, so what it says is the newest. What can't be read is a dead letter with the bytes as they
came, once for each reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from producers.connect.connections import Connection
from producers.connect.memory import Memory
from producers.connect.orders import BadOrder, deleted_id
from producers.connect.platforms import platform_of
from producers.connect.resource_memory import NamedResource, ResourcePosition
from producers.connect.resources import MEANT_FOR, Customer, Product, Resource, known_product, news_of, news_of_customer
from producers.runner import Run
from schemas.catalogue import Event
from schemas.errors import PoisonEvent

TOGETHER: Final = 500  # events for which Kafka is waited for once


class Refuse(Protocol):
    """Sends to the dead letters. ``whose`` is a pseudonym, where it is of a person who is known."""

    def __call__(  # noqa: D102
        self,
        origin: Mapping[str, str],
        what: str,
        body: bytes,
        error: PoisonEvent,
        meant_for: Event,
        *,
        whose: str | None,
    ) -> None: ...


class ResourceIntake:
    """Keeps events, and publishes them. Of one thread only. ``refuse`` sends to the dead letters, and ``called``
    is who a customer is: one who was erased is somebody else from then on.
    """

    def __init__(self, this: Run, memory: Memory, refuse: Refuse, called: Callable[[str], str]) -> None:
        self._this = this
        self._memory = memory
        self._refuse = refuse
        self._called = called

    def take(self, connection: Connection, resource: Resource, body: bytes) -> None:
        """Keep the events that the JSON of a product or a customer asks for, for ``send``."""
        memory, name = self._memory.resources, connection.name
        number = deleted_id(body) or ""
        try:
            found = None if number else self._read(connection, resource, body)
            number = found.number if found else number
            before = memory.state(name, resource, number)
            if found is None and before is None:
                return
            now_ms = int(self._this.clock() * 1000)
            if isinstance(found, Customer) or resource == "customers":
                assert not isinstance(found, Product)
                records, after = news_of_customer(connection.shop, found, before, now_ms, self._called)
            else:
                host = urlsplit(connection.url).netloc
                known = known_product(before)
                records, known = news_of(connection.shop, host, number, found, known, now_ms, connection.since_ms)
                after = known.written()
            memory.keep(name, resource, number, after, records, is_gone=found is None)
        except PoisonEvent as bad:
            number = bad.order_id if isinstance(bad, BadOrder) else number
            what = f"{resource}:{number or hashlib.sha256(body).hexdigest()}"
            is_person = resource == "customers" and number
            whose = self._called(f"{connection.name}-{number}") if is_person else None
            self._refuse(connection.origin, what, body, bad, MEANT_FOR[resource], whose=whose)

    def _read(self, connection: Connection, resource: Resource, body: bytes) -> Product | Customer:
        platform = platform_of(connection)
        read = platform.read_product if resource == "products" else platform.read_customer
        return read(body, connection.shop)

    def take_page(
        self, connection: Connection, resource: Resource, bodies: Iterable[bytes], position: ResourcePosition
    ) -> None:
        """The same of a page of them, with which they are read as far as this."""
        self._memory.resources.move(connection.name, resource, position)
        for body in bodies:
            self.take(connection, resource, body)

    def take_named(
        self, connection: Connection, resource: Resource, named: Iterable[NamedResource], bodies: Iterable[bytes]
    ) -> None:
        """The same for resources that were named, which are read with these."""
        for body in bodies:
            self.take(connection, resource, body)
        self._memory.resources.read(connection.name, resource, named)

    def send(self, deadline_seconds: float) -> None:
        """Publish the stored events, and remove them. Blocks until Kafka has them. Raises as ``Intake.commit``.

        One that is refused by now, after a clock was set back or a contract changed, is a dead letter.
        """
        memory = self._memory.resources
        if memory.unsent(1):
            memory.bring_to_disk()
        while unsent := memory.unsent(TOGETHER):
            for _, value in unsent:
                self._publish(value)
            self._this.publisher.flush(deadline_seconds)
            memory.sent(unsent[-1][0])
            self._memory.commit()

    def _publish(self, value: bytes) -> None:
        event, record = self._memory.resources.event_of(value), dict[str, Any]()
        try:
            record = self._memory.resources.record_of(value)
            self._this.publish(event, record)
        except PoisonEvent as error:
            what = f"{event.name}:{record.get('event_id') or hashlib.sha256(value).hexdigest()}"
            body = json.dumps(record, default=str).encode() if record else value
            origin = {"shop": record.get("source", "")}
            self._refuse(origin, what, body, error, event, whose=record.get("customer_id"))
