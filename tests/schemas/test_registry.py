"""The registry, as the real one answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from insights.settings import Settings
from schemas.catalogue import Event, avro_events
from schemas.codec import Decoder
from schemas.errors import IncompatibleSchema, PoisonEvent, RegistryUnavailable
from schemas.registry import Registry
from tests.schemas.thing_happened import THING_HAPPENED, of, the_field

NUMBERS = count(1)
UNKNOWN_ID = 987_654_321


@pytest.fixture
def registry(stack: Settings) -> Registry:
    return Registry(stack.registry_url)


@pytest.fixture
def away() -> Registry:
    """Nothing listens there: only what is remembered can be answered."""
    return Registry("http://127.0.0.1:9")


@pytest.fixture
def contract() -> dict[str, Any]:
    """A contract of its own for each test, so that none depends on another's."""
    return {**copy.deepcopy(THING_HAPPENED), "topic": f"tests.thing_{next(NUMBERS)}.v1"}


@pytest.fixture
def broken(contract: dict[str, Any]) -> Callable[[str, Any], Event]:
    def change(name: str, avro: Any) -> Event:
        changed = copy.deepcopy(contract)
        the_field(changed, name).update(type=avro)
        return of(changed)

    return change


def test_registering_twice_gives_the_same_id(registry: Registry, contract: dict[str, Any]) -> None:
    first = registry.register(of(contract))
    assert registry.register(of(contract)) == first
    assert registry.schema_id(of(contract)) == first
    assert list(registry.versions(of(contract))) == [1]


def test_a_field_added_as_it_should_be_is_a_new_version(registry: Registry, contract: dict[str, Any]) -> None:
    first = registry.register(of(contract))
    contract["fields"].append({"name": "gift", "type": ["null", "int"], "default": None})
    second = registry.register(of(contract))
    assert second != first
    assert list(registry.versions(of(contract))) == [1, 2]
    assert "gift" in registry.schema_text(second)
    assert "gift" not in registry.schema_text(first)


def test_a_change_that_breaks_is_refused_with_version_and_field(
    registry: Registry, contract: dict[str, Any], broken: Callable[[str, Any], Event]
) -> None:
    registry.register(of(contract))
    with pytest.raises(IncompatibleSchema) as caught:
        registry.register(broken("amount", "string"))
    assert "version 1 in the registry (writer)" in str(caught.value)
    assert "field amount" in str(caught.value)
    assert list(registry.versions(of(contract))) == [1]


def test_a_break_with_an_older_version_is_refused_too(registry: Registry, contract: dict[str, Any]) -> None:
    registry.register(of(contract))
    contract["fields"].append({"name": "gift", "type": ["null", "int"], "default": None})
    registry.register(of(contract))
    the_field(contract, "gift").update(type=["null", "string"])
    with pytest.raises(IncompatibleSchema, match=r"version 2 in the registry .*field gift"):
        registry.check(of(contract))


def test_the_server_itself_would_refuse_it_as_well(
    registry: Registry, contract: dict[str, Any], broken: Callable[[str, Any], Event]
) -> None:
    """Who registers past this project's client meets the same rule."""
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    registry.register(of(contract))
    with SchemaRegistryClient({"url": registry.url}) as client, pytest.raises(SchemaRegistryError) as caught:
        client.register_schema(of(contract).subject, Schema(broken("amount", "string").schema_text, "AVRO"))
    assert caught.value.http_status_code == 409


def test_a_contract_that_was_never_registered_has_no_id(registry: Registry, contract: dict[str, Any]) -> None:
    with pytest.raises(IncompatibleSchema, match="is not registered at .*; run `insights schemas register`"):
        registry.schema_id(of(contract))
    assert registry.versions(of(contract)) == {}


def test_a_version_that_was_never_registered_has_no_id(
    registry: Registry, contract: dict[str, Any], broken: Callable[[str, Any], Event]
) -> None:
    registry.register(of(contract))
    with pytest.raises(IncompatibleSchema, match="is not registered"):
        registry.schema_id(broken("amount", "string"))


def test_an_unknown_id_is_poison_and_is_remembered(stack: Settings, away: Registry) -> None:
    registry = Registry(stack.registry_url)
    with pytest.raises(PoisonEvent, match=f"no schema has the id {UNKNOWN_ID}"):
        registry.schema_text(UNKNOWN_ID)
    registry._client = away._client
    with pytest.raises(PoisonEvent, match=f"no schema has the id {UNKNOWN_ID}"):
        registry.schema_text(UNKNOWN_ID)
    with pytest.raises(RegistryUnavailable):
        registry.schema_text(UNKNOWN_ID + 1)


def test_a_known_id_is_remembered(stack: Settings, away: Registry, contract: dict[str, Any]) -> None:
    registry = Registry(stack.registry_url)
    known = registry.register(of(contract))
    text = registry.schema_text(known)
    assert json.loads(text) == of(contract).avro_schema
    registry._client = away._client
    assert registry.schema_text(known) == text


def test_a_record_with_an_unknown_id_is_poison(registry: Registry) -> None:
    value = b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + b"body"
    with pytest.raises(PoisonEvent, match=str(UNKNOWN_ID)):
        Decoder(registry).decode(value)


def test_every_contract_of_the_project_is_registered_by_up(registry: Registry) -> None:
    ids = {event.name: registry.schema_id(event) for event in avro_events()}
    assert registry.register_all() == ids
    assert len(set(ids.values())) == len(ids)


def test_a_registry_that_is_away_is_named(away: Registry) -> None:
    with pytest.raises(RegistryUnavailable, match="http://127.0.0.1:9 did not answer"):
        away.register(of(THING_HAPPENED))


def test_an_unknown_id_is_asked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends it; and by then somebody may have registered it."""
    from confluent_kafka.schema_registry import Schema
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    registry, now, asked = Registry("http://127.0.0.1:1"), [0.0], []

    def get_schema(schema_id: int) -> Schema:
        asked.append(now[0])
        if now[0] < 100:
            raise SchemaRegistryError(404, 40403, "Schema not found")
        return Schema("{}", "AVRO")

    monkeypatch.setattr(registry._client, "get_schema", get_schema)
    monkeypatch.setattr("schemas.registry.time.monotonic", lambda: now[0])
    for second in (0, 30, 59, 61, 119):
        now[0] = second
        with pytest.raises(PoisonEvent, match="no schema has the id 7"):
            registry.schema_text(7)
    now[0] = 122
    assert registry.schema_text(7) == "{}"
    assert asked == [0, 61, 122]
