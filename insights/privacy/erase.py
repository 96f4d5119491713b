"""Erases a person: their keys are destroyed, and the fact is published.

On the log, in the lake and in the tables a person is a pseudonym and sealed bytes, so nothing is rewritten there: what
was sealed is unreadable in every copy at once, and the numbers stay as they are. A second run of the same does what the
first did not come to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from typing import Final

from insights.privacy.person import Held
from insights.settings import Settings
from producers.persons.keys import FILE, PersonKeys
from producers.publisher import Publisher
from producers.shop.customer_keys import KeyStore
from producers.shop.identifiers import envelope
from schemas import catalogue
from schemas.registry import Registry

ERASED: Final = catalogue.event("customers.customer_erased")
SOURCE: Final = "privacy"
SIMULATED: Final = re.compile(r"C(\d{8,12})")


def erase(settings: Settings, keys: PersonKeys, found: Held, clock: Callable[[], float]) -> None:
    """Destroy the keys of what is held, and publish that each pseudonym was erased. Blocks until both is done.

    Raises StillRead, BrokerUnavailable, RegistryUnavailable; run it again then. ``clock`` gives seconds since 1970.
    """
    keys.erase(found.customers, found.letters, int(clock() * 1000))
    numbers = [int(match[1]) for name in found.names if (match := SIMULATED.fullmatch(name))]
    if numbers:
        with closing(KeyStore(settings.producers_dir / FILE)) as simulated:
            for number in numbers:
                simulated.delete(number)
    publisher = Publisher(settings.kafka, Registry(settings.registry_url), client_id="insights-privacy", clock=clock)
    for name in found.names:
        if (at_ms := keys.erased_ms(name)) is not None:
            publisher.publish(ERASED, record(name, at_ms))
    publisher.flush()


def record(customer: str, at_ms: int) -> dict[str, object]:
    """The event that says so. A second one of the same erasure has the same id."""
    return {**envelope(SOURCE, f"erased:{customer}", at_ms), "customer_id": customer}
