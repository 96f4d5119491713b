"""Every error this project raises on purpose, split by what the caller does about it.

Their message says what happened, where, and what to do next; the CLI prints it as one paragraph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class InsightsError(Exception):
    """The root. Anything else that escapes is a defect. ``exit_code`` is that of a command that ends by it."""

    exit_code: ClassVar[int] = 1


class Retryable(InsightsError):
    """Trying again later may work: a server is away, a lock is held.

    The exit code is sendmail's for it (EX_TEMPFAIL of sysexits.h), by which a schedule knows whether to try again.
    """

    exit_code: ClassVar[int] = 75


class Misconfigured(InsightsError):
    """A setting, file or argument is wrong; the text names it and what it should be."""


class RowsRefused(InsightsError):
    """A file was imported, and some of its rows were not: the user should check."""

    exit_code: ClassVar[int] = 3


class Interrupted(InsightsError):
    """Somebody ended a piece of work before its end. The exit code is a shell's for it."""

    exit_code: ClassVar[int] = 130


class PoisonEvent(InsightsError):
    """These bytes or this record will never be an event: dead-letter it, do not retry."""


class ContractBroken(PoisonEvent):
    """A record does not fit its contract, or lies further ahead of the clock than an event may.

    Attributes:
        event: name of the contract, for example ``sales.order_placed``.
        field: dotted path of the first field that does not fit, for example ``lines[2].quantity``.
    """

    def __init__(self, event: str, field: str, problem: str) -> None:
        super().__init__(f"{event}: field {field} {problem}; the event was not published")
        self.event = event
        self.field = field


class EventTooLarge(PoisonEvent):
    """The encoded record is larger than its topic takes."""

    def __init__(self, event: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"{event}: the encoded event has {size_bytes:,} bytes and its topic takes {max_bytes:,}"
            f" (max_bytes in schemas/{event}.avsc); the event was not published"
        )
        self.event = event


class IncompatibleSchema(InsightsError):
    """A contract was changed in a way that breaks readers or writers of older records."""


class BrokerUnavailable(Retryable):
    """Kafka did not answer in time."""


class RegistryUnavailable(Retryable):
    """The schema registry did not answer in time."""


def advice(problem: Mapping[str, Any]) -> str:
    """What to do about a field of a person's file that pydantic does not take: ``is missing; add it``."""
    known = {
        "missing": "is missing; add it",
        "extra_forbidden": "is not a field here; remove it or fix its spelling",
    }
    said = problem["msg"][0].lower() + problem["msg"][1:]
    return known.get(problem["type"]) or f"{said}, and it is {problem['input']!r}; change it"
