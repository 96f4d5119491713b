"""The contracts, read once from the ``.avsc`` files next to this module.

A contract is an Avro record schema with these attributes at its top level:

==================  =====================================================================
``topic``           Kafka topic, ``<domain>.<event>.v<major>``; the subject is ``<topic>-value``
``key``             field that keys the record (and so orders it)
``partitions``      of the topic
``retention_days``  of the topic; null keeps records forever
``cleanup``         ``delete`` or ``compact``
``max_bytes``       largest encoded event
``format``          ``avro`` (default), or ``raw`` for a topic whose value is not Avro
``freshness``       how old its newest event may be, for the page and the alerts: see Freshness
``versions``        that its events are states of something, of which the newest counts: see Versions
``ingress_days``    of the topic ``ingress.<topic>``, on which other programs may publish it: producers/gate
==================  =====================================================================

and its fields may have rules for values besides their type: schemas/rules.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from schemas.errors import Misconfigured
from schemas.rules import refuse_unknown, without_rules

HERE = Path(__file__).parent
MAX_BATCH_BYTES = 2 * 1024 * 1024
# The watermark follows the newest event: a time far ahead would make everything that comes after it late. An hour is
# more than machines' clocks differ by, and far below the horizon that makes late. Kafka 4 holds record timestamps to
# the same (message.timestamp.after.max.ms), but ours are the time of publication.
MOST_AHEAD = timedelta(hours=1)
ATTRIBUTES = (
    *("topic", "key", "partitions", "retention_days", "cleanup", "max_bytes", "format", "freshness", "versions"),
    "ingress_days",
)
INGRESS = "ingress."


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How old a topic's newest event may be.

    Attributes:
        title: what people call the source: Orders.
        place: in lists of sources, from 1.
        fresh_seconds: up to this age it is live.
        stale_seconds: from this age on it is stale; between the two it is delayed.
        silent_hours: from this age on an alert reports the source as silent.
    """

    title: str
    place: int
    fresh_seconds: int
    stale_seconds: int
    silent_hours: int


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Events that are states of one thing, each with a version: the state with the highest version counts.

    An event without a version stands by itself. All states of a thing have one event time, so that a correction counts
    in the windows of what it corrects.

    Attributes:
        of: fields that name the thing; occurred_at is among them.
        by: the field of the version, a nullable long.
        void: the field, a nullable boolean, of a state that counts nowhere: a cancelled order.
        paid: the field, a nullable time, of when the order was paid: by payment date an order or refund counts nowhere
            without it; source is among its fields.
    """

    of: tuple[str, ...]
    by: str
    void: str
    paid: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One contract. ``name`` is ``sales.order_placed``, ``topic`` is ``sales.order_placed.v1``."""

    name: str
    topic: str
    key: str
    partitions: int
    retention_days: int | None
    cleanup: Literal["delete", "compact"]
    max_bytes: int
    format: Literal["avro", "raw"]
    schema: dict[str, Any]
    freshness: Freshness | None = None
    versions: Versions | None = None
    ingress_days: int | None = None

    @property
    def ingress(self) -> str:
        """The topic on which other programs publish it: ``ingress.sales.order_placed.v1``."""
        return INGRESS + self.topic

    @property
    def table(self) -> str:
        """Name of the event's table in the lake and of its view in SQL: ``order_placed``."""
        return self.name.split(".")[1]

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The fields with a time at which the event may count: none is ahead of the clock by more than MOST_AHEAD."""
        paid = self.versions.paid if self.versions else None
        return ("occurred_at", paid) if paid else ("occurred_at",)

    @property
    def subject(self) -> str:
        return f"{self.topic}-value"

    @cached_property
    def schema_text(self) -> str:
        """What is registered: the Avro schema without this project's own attributes."""
        return json.dumps(self.avro_schema, separators=(",", ":"))

    @cached_property
    def avro_schema(self) -> dict[str, Any]:
        schema = without_rules({k: v for k, v in self.schema.items() if k not in ATTRIBUTES})
        assert isinstance(schema, dict)
        return schema

    @property
    def topic_config(self) -> dict[str, str]:
        """Kafka's topic settings. Times in milliseconds."""
        retention = -1 if self.retention_days is None else self.retention_days * 86_400_000
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention),
            # Kafka's limit is on a batch of records; the contract's, on one event, is the codec's to hold.
            "max.message.bytes": str(MAX_BATCH_BYTES),
        }


def parse_event(text: str, origin: str) -> Event:
    """An Event from the text of an ``.avsc``. Raises Misconfigured naming ``origin`` and what is wrong."""
    try:
        schema = json.loads(text)
        name, _, major = schema["topic"].rpartition(".v")
        if not major.isdigit() or name.count(".") != 1:
            raise Misconfigured(f"{origin}: topic {schema['topic']!r} is not <domain>.<event>.v<major>")
        if "fields" in schema:
            refuse_unknown(schema)
        return Event(
            name=name,
            topic=schema["topic"],
            key=schema["key"],
            partitions=schema["partitions"],
            retention_days=schema["retention_days"],
            cleanup=schema["cleanup"],
            max_bytes=schema["max_bytes"],
            format=schema.get("format", "avro"),
            schema=schema,
            freshness=Freshness(**schema["freshness"]) if "freshness" in schema else None,
            versions=_checked(versions_of(schema.get("versions")), schema, origin),
            ingress_days=schema.get("ingress_days"),
        )
    except json.JSONDecodeError as error:
        raise Misconfigured(f"{origin}: not JSON: {error}") from error
    except ValueError as error:
        raise Misconfigured(f"{origin}: {error}") from error
    except KeyError as error:
        raise Misconfigured(f"{origin}: the contract has no attribute {error}; see schemas/catalogue.py") from error
    except TypeError as error:
        wanted = (", ".join(field.name for field in fields(kind)) for kind in (Freshness, Versions))
        raise Misconfigured(
            f"{origin}: the attribute 'freshness' takes only {next(wanted)}, and 'versions' {next(wanted)}: {error}"
        ) from error


def versions_of(attribute: Mapping[str, Any] | None) -> Versions | None:
    """Versions as JSON has them. Raises TypeError for other names."""
    return Versions(**{**attribute, "of": tuple(attribute.get("of", ()))}) if attribute else None


def _checked(versions: Versions | None, schema: dict[str, Any], origin: str) -> Versions | None:
    if versions is None:
        return None
    types = {field["name"]: field["type"] for field in schema["fields"]}
    wanted = {**dict.fromkeys(versions.of), versions.by: ["null", "long"], versions.void: ["null", "boolean"]}
    if versions.paid:
        wanted |= {versions.paid: ["null", {"type": "long", "logicalType": "timestamp-millis"}], "source": "string"}
    for name, kind in wanted.items():
        if name not in types or (kind and types[name] != kind):
            raise Misconfigured(f"{origin}: 'versions' needs a field {name}{f' of the type {kind}' if kind else ''}")
    if "occurred_at" not in versions.of:
        raise Misconfigured(f"{origin}: 'versions' is of things with one event time: occurred_at is missing in 'of'")
    return versions


@cache
def events() -> tuple[Event, ...]:
    """All contracts, by name. Raises Misconfigured when one can't be read."""
    found = [parse_event(path.read_text(), path.name) for path in sorted(HERE.glob("*.avsc"))]
    return tuple(found)


def meant_for(topic: str) -> str:
    """The topic that a record of ``topic`` was to reach: of a contract's ingress topic its own, else itself."""
    return _behind_ingress().get(topic, topic)


@cache
def _behind_ingress() -> Mapping[str, str]:
    return {e.ingress: e.topic for e in events() if e.ingress_days}


def avro_events() -> tuple[Event, ...]:
    """The contracts whose values are Avro: all but the dead letters."""
    return tuple(e for e in events() if e.format == "avro")


@cache
def event(name: str) -> Event:
    """The contract called ``name`` (``sales.order_placed``). Raises Misconfigured listing those there are."""
    for candidate in events():
        if candidate.name == name:
            return candidate
    known = ", ".join(e.name for e in events())
    raise Misconfigured(f"there is no contract {name!r}; schemas/ has {known}")
