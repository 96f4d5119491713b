"""One broker, or several of one cluster: what each is configured to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from insights.settings import Settings, load_settings
from insights.stack.servers import cluster_id, kafka_options
from schemas.errors import Misconfigured
from schemas.kafka import Kafka
from tests.conftest import own_settings

HOSTS = ("kafka", "kafka-2", "kafka-3")
QUORUM = "kafka:19093,kafka-2:19093,kafka-3:19093"


def broker(home: Path, host: str) -> Settings:
    return own_settings(home, kafka_quorum=QUORUM, advertise=host, listen="0.0.0.0")  # noqa: S104


def test_brokers_of_a_quorum_are_nodes_of_one_cluster_with_three_copies_of_everything(tmp_path: Path) -> None:
    brokers = [broker(tmp_path, host) for host in HOSTS]
    options = [kafka_options(each, tmp_path) for each in brokers]
    assert [o["node.id"] for o in options] == [1, 2, 3]
    assert {o["controller.quorum.voters"] for o in options} == {"1@kafka:19093,2@kafka-2:19093,3@kafka-3:19093"}
    assert all(str(o["listeners"]).endswith("CONTROLLER://0.0.0.0:19093") for o in options)
    copies = {key: {o[key] for o in options} for key in options[0] if "replica" in key or key.endswith(".isr")}
    assert len(copies) == 7
    assert all(found == ({2} if "min." in key else {3}) for key, found in copies.items())
    assert len({cluster_id(each) for each in brokers}) == 1


def test_a_broker_alone_keeps_one_copy_and_speaks_to_no_controller_but_its_own(tmp_path: Path) -> None:
    settings = own_settings(tmp_path, advertise="kafka", listen="0.0.0.0")  # noqa: S104
    options = kafka_options(settings, tmp_path)
    assert options["controller.quorum.voters"] == f"1@127.0.0.1:{settings.kafka_controller_port}"
    assert {value for key, value in options.items() if "replica" in key or key.endswith(".isr")} == {1}
    assert cluster_id(settings) != cluster_id(settings)


def test_a_broker_that_is_none_of_its_quorum_is_refused_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_KAFKA_QUORUM", QUORUM)
    with pytest.raises(Misconfigured, match=r"INSIGHTS_ADVERTISE=127\.0\.0\.1 must be one host of INSIGHTS_KAFKA_QUO"):
        load_settings()


def test_each_broker_of_an_address_is_known_by_host_and_port() -> None:
    assert Kafka("b-1:9092,b-2:9093").addresses == [("b-1", 9092), ("b-2", 9093)]
