"""Redriving without servers: Kafka, the record and the shops in memory, and letters to redrive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from insights.letters.redrive import Outcome, Servers, Wish, redrive
from producers.connect.rereads import Doubt
from producers.redrive import recipe as recipes
from producers.redrive.avro import FramedAvro
from producers.redrive.event import Anybody
from producers.redrive.recipe import Recipe
from reconciliation.dead_letters import DeadLetter
from reconciliation.redrives import Redrive
from schemas.catalogue import Event, event
from schemas.codec import Encoder
from schemas.errors import PoisonEvent

NUMBERS = Path(recipes.__file__).parent / "recipes" / "web-product-id-is-a-number.yaml"
DEAD_AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
WEB, SPEND = "web.interaction.v1", "marketing.spend_stated.v1"
AT = 1795769999500  # half a second before


@cache
def encoder_of(name: str) -> Encoder:
    return Encoder(event(name), 1)


@dataclass
class World:
    """Kafka, the record and the shops, in memory. ``dies_at`` ends a run when so many events were published."""

    events: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[int, Redrive] = field(default_factory=dict)
    asked: list[tuple[str, tuple[Doubt, ...]]] = field(default_factory=list)
    dies_at: int | None = None
    schemas: dict[int, str] = field(default_factory=dict)

    def schema_text(self, schema_id: int) -> str:
        if schema_id not in self.schemas:
            raise PoisonEvent(f"no schema has the id {schema_id}")
        return self.schemas[schema_id]

    def check(self, contract: Event, record: Mapping[str, Any]) -> None:
        encoder_of(contract.name).encode(record)

    def publish(self, contract: Event, record: Mapping[str, Any]) -> None:
        self.check(contract, record)
        self.events.append(dict(record))

    def flush(self) -> None:
        if self.dies_at is not None and len(self.events) >= self.dies_at:
            raise KeyboardInterrupt

    def note(self, rows: Sequence[Redrive]) -> None:
        self.rows |= {row.offset: row for row in rows}

    def run(self, letters: Sequence[DeadLetter], **wished: Any) -> list[Outcome]:
        servers = Servers(
            publisher=self,
            persons=Anybody(),
            done=dict(self.rows),
            note=self.note,
            ask=lambda shop, doubts: self.asked.append((shop, tuple(doubts))),
            waiting=lambda of: frozenset(each.order_id for shop, doubts in self.asked if shop == of for each in doubts),
            shops=frozenset({"bikes"}),
            avro=FramedAvro(self).read,
            clock=lambda: DEAD_AT.timestamp() + 60,
        )
        return list(redrive(letters, Wish(by="anna", **wished), servers))

    @property
    def ids(self) -> list[str]:
        return [each["event_id"] for each in self.events]


def web(offset: int, **said: Any) -> DeadLetter:
    sent = {"id": f"e{offset}", "at": AT, "interaction": "product_view", "page": "/p", "product_id": offset, **said}
    return letter(offset, WEB, {name: what for name, what in sent.items() if what is not ...}, source="bikes")


def letter(
    offset: int, topic: str, value: Any, error: str = "producers.collect.batch.BadEvent", **headers: str
) -> DeadLetter:
    return DeadLetter(
        offset=offset,
        dead_at=DEAD_AT + timedelta(milliseconds=offset),
        topic=topic,
        error=error,
        reason="product_id: Expected …, got …",
        source_partition=None,
        source_offset=None,
        headers=headers,
        value=value if isinstance(value, bytes) else json.dumps(value).encode(),
    )


def recipe(*steps: dict[str, Any], digest: str = "0", **more: Any) -> Recipe:
    fields = {"name": "texts", "sha256": digest, "title": "texts", "event": "web.interaction", "steps": steps}
    return Recipe.model_validate({"examples": [{"given": {}, "expected": {}}], **fields, **more})


TEXTS = recipe({"cast": {"product_id": "text"}})
