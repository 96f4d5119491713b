"""Which events the gate serves, and from which topics."""

from __future__ import annotations

from pathlib import Path

import pytest

from insights.settings import Settings
from insights.stack.composition import UpPlan, daemons
from insights.stack.part import Part
from producers.gate.source import served, topic_config
from schemas import catalogue
from schemas.errors import Misconfigured
from tests.producers.gate.records import ORDER


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "give --events, of catalog.product_observed, .*sales.order_refunded"),
        (["web.interaction"], "'web.interaction' is no event that other programs may publish: catalog"),
        (["sales.order_placed", "orders"], "'orders' is no event"),
    ],
)
def test_what_it_can_not_serve_is_refused_with_what_it_can(names: list[str], problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        served(names)


def test_an_event_that_is_named_twice_is_served_once() -> None:
    assert served([ORDER.name, ORDER.name]) == [ORDER]


def test_an_ingress_topic_keeps_records_for_as_long_as_the_contract_says_by_the_brokers_clock() -> None:
    config = topic_config(ORDER)
    assert (config["retention.ms"], config["message.timestamp.type"]) == ("604800000", "LogAppendTime")
    assert int(config["max.message.bytes"]) > 1_000_000  # librdkafka's batches


def test_what_came_by_an_ingress_topic_was_meant_for_the_clean_one() -> None:
    assert catalogue.meant_for("ingress.sales.order_placed.v1") == "sales.order_placed.v1"
    assert catalogue.meant_for("ingress.snowplow") == "ingress.snowplow"
    assert catalogue.meant_for("sales.order_placed.v1") == "sales.order_placed.v1"


def test_no_event_with_encrypted_fields_may_come_from_others() -> None:
    kinds = [field["type"] for each in catalogue.avro_events() if each.ingress_days for field in each.schema["fields"]]
    assert not any(kind in ("bytes", ["null", "bytes"]) for kind in kinds)


def test_the_stack_runs_it_if_it_is_told_for_which_events(tmp_path: Path) -> None:
    def parts(**settings: str) -> dict[str, Part]:
        found = daemons(Settings(home=tmp_path / "home", **settings), UpPlan())  # type: ignore[arg-type]
        return {part.name: part for part in found}

    assert "gate" not in parts()
    gate = parts(gate_events="sales.order_placed")["gate"]
    assert gate.command[-2:] == ["--events", "sales.order_placed"]
    assert gate.endpoint == "http://127.0.0.1:19408/metrics"
