"""dbt's project as a whole: its sources and exposures, the description of every model, what would break."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from aggregates.catalogue import aggregates
from insights.dbt_run import DBT, environment
from insights.settings import PROJECT, Settings
from tests.marts.oracle.marts import MARTS, QUALITY_MARTS

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = Settings(home=tmp_path_factory.mktemp("parsed"))
    subprocess.run(
        [DBT, "--quiet", "--log-level-file", "none", "--warn-error", "parse"], env=environment(settings), check=True
    )
    found: dict[str, Any] = json.loads((settings.dbt_dir / "target" / "manifest.json").read_text())
    return found


def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "snapshot")]


def test_every_model_and_column_has_a_description(manifest: dict[str, Any]) -> None:
    silent = [
        f"{node['name']} {column}".strip()
        for node in models(manifest)
        for column, text in [("", node["description"]), *((n, c["description"]) for n, c in node["columns"].items())]
        if not text
    ]
    assert silent == []
    assert [node["name"] for node in models(manifest) if not node["columns"]] == []


def test_a_net_amount_is_after_refunds_in_every_table(manifest: dict[str, Any]) -> None:
    """Before refunds it is a sales_amount; revenue was used for both, and is the name of neither."""
    tables = {a.sink: set(a.columns) for a in aggregates()}
    tables |= {node["name"]: set(node["columns"]) for node in models(manifest)}
    assert {"live.sales_per_day", "daily_sales", "fct_orders"} <= tables.keys()
    assert sorted(name for name, columns in tables.items() if "revenue" in columns) == []
    net = {name: columns for name, columns in tables.items() if "net_amount" in columns}
    assert {"daily_sales", "fct_orders"} <= net.keys()
    assert [name for name, columns in net.items() if not {"sales_amount", "refund_amount"} <= columns] == []


def test_every_mart_states_its_grain_and_keeps_a_contract(manifest: dict[str, Any]) -> None:
    marts = {node["unique_id"]: node for node in models(manifest) if node["schema"] == "marts"}
    assert len(marts) > 20
    assert [node["name"] for node in marts.values() if not node["contract"]["enforced"]] == []
    stated = {
        node["attached_node"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node.get("test_metadata", {}).get("name") == "grain"
    }
    assert set(marts) - stated == set()


def test_no_view_reads_a_table_that_dbt_replaces(manifest: dict[str, Any]) -> None:
    """It would be dropped with the table, and be gone until it is made again."""
    broken = [
        f"{node['name']} reads {parent['name']}"
        for node in models(manifest)
        if node["config"]["materialized"] == "view"
        for parent in (manifest["nodes"].get(name, {}) for name in node["depends_on"]["nodes"])
        if parent.get("config", {}).get("materialized") == "table"
    ]
    assert broken == []


def test_each_model_has_its_yaml_next_to_it() -> None:
    queries = sorted((PROJECT / "dbt" / "models").rglob("*.sql"))
    assert [path.stem for path in queries if not path.with_suffix(".yml").exists()] == []


def test_every_mart_is_computed_a_second_time_in_plain_python(manifest: dict[str, Any]) -> None:
    marts = {node["name"] for node in models(manifest) if node["schema"] == "marts"}
    assert marts == MARTS.keys() | QUALITY_MARTS.keys()
