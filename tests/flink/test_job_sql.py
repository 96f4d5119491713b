"""The live plan, as Flink itself understands it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from aggregates.catalogue import Aggregate, aggregates, touched_by
from aggregates.render import Engine, render
from flink.job_sql import WRITTEN_OPS_TABLES, live_plan
from schemas.catalogue import Event, avro_events, event, events
from tests.flink.live_on_files import DEPLOYMENT, created, lake_on_files, plan
from tests.flink.process import FlinkProcess, Part
from warehouse.columns import LOG_POSITION, lake_columns

AGGREGATES = [pytest.param(a, id=a.name) for a in aggregates()]
CONTRACTS = [pytest.param(e, id=e.name) for e in events()]
AVRO_CONTRACTS = [pytest.param(e, id=e.name) for e in avro_events()]
FLINK_TYPES = {
    "timestamp": "TIMESTAMP(3)",
    "date": "DATE",
    "string": "STRING",
    "bytes": "BYTES",
    "boolean": "BOOLEAN",
    "int": "INT",
    "count": "BIGINT",
    "money": "DECIMAL(38, 2)",
    "charge": "DECIMAL(38, 3)",
    "rate": "DECIMAL(38, 12)",
    "double": "DOUBLE",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The plan's statements, with its lake on files: Iceberg's catalog would ask a database when it is made."""
    ours = [statement for statement in plan().statements if created(statement) != "lake"]
    return [*lake_on_files(tmp_path_factory.mktemp("lake")), *ours]


@pytest.fixture(scope="module")
def optimized(flink: FlinkProcess, tables: list[str]) -> tuple[str, str]:
    """The whole live plan, with its own Kafka and Postgres connectors: as changes flow, and as Flink executes it."""
    text = flink.explain(plan().settings, [Part(name="live", statements=tables, inserts=plan().inserts)])
    flows, executed = text.split("== Optimized Execution Plan ==")
    return flows.split("== Optimized Physical Plan ==")[1], executed


@pytest.fixture(scope="module")
def explained(optimized: tuple[str, str]) -> str:
    return optimized[1]


@pytest.fixture(scope="module")
def described(flink: FlinkProcess, tables: list[str]) -> dict[str, dict[str, str]]:
    """{aggregate: {column of its query: type}}."""
    queries = [render(a, Engine.FLINK) for a in aggregates()]
    found = flink.describe(plan().settings, [Part(name="live", statements=tables, queries=queries)])
    return {a.name: columns for a, columns in zip(aggregates(), found, strict=True)}


def test_each_topic_is_read_once_whatever_reads_it(explained: str) -> None:
    scans = re.findall(r"TableSourceScan\(table=\[\[default_catalog, live, arrived_(\w+)", explained)
    assert sorted(scans) == sorted(e.table for e in events())


def test_each_topics_copies_are_numbered_once(explained: str) -> None:
    assert explained.count("OverAggregate(partitionBy=[event_id], orderBy=[read_at ASC]") == len(avro_events())


def test_each_topics_events_are_judged_once_by_their_own_partition(explained: str) -> None:
    assert explained.count("OverAggregate(partitionBy=[kafka_partition], orderBy=[read_at ASC]") == len(avro_events())
    assert explained.count("OverAggregate(") == 2 * len(avro_events())


def test_nothing_that_was_judged_or_numbered_is_taken_back(optimized: tuple[str, str]) -> None:
    """With mini-batch it would be, and Flink's watermark would follow the wall clock besides."""
    flows, executed = optimized
    assert "MiniBatch" not in executed
    modes = re.findall(r"OverAggregate\(.*changelogMode=\[([^\]]*)\]", flows)
    assert len(modes) >= 2 * len(avro_events())
    assert set(modes) == {"I"}


def test_no_sink_needs_its_rows_put_in_order(explained: str) -> None:
    """An upsert materializer keeps every row of a table in its state; it is planned when a key is not the query's."""
    assert "upsertMaterialize=[true]" not in explained
    assert "ChangelogNormalize" not in explained


def test_every_sink_is_written_by_exactly_one_insert(explained: str) -> None:
    sinks = re.findall(
        r"Sink\(table=\[default_catalog\.live\.([\w.]+)\]|Sink\(table=\[(lake\.events\.\w+)\]", explained
    )
    expected = [a.table for a in aggregates()] + [s.table for s in WRITTEN_OPS_TABLES]
    assert sorted(name for name, _ in sinks if name) == sorted(expected)
    assert sorted(name for _, name in sinks if name) == sorted(f"lake.events.{e.table}" for e in events())


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_query_gives_the_columns_that_its_aggregate_names(
    aggregate: Aggregate, described: dict[str, dict[str, str]]
) -> None:
    """In that order: an insert goes by place, and two counts that change places would go unnoticed."""
    assert list(described[aggregate.name]) == list(aggregate.columns)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_query_gives_the_types_that_its_aggregate_names(
    aggregate: Aggregate, described: dict[str, dict[str, str]]
) -> None:
    found = {name: kind.removesuffix(" NOT NULL") for name, kind in described[aggregate.name].items()}
    assert found == {name: FLINK_TYPES[column.type] for name, column in aggregate.columns.items()}


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_key_is_never_null(aggregate: Aggregate) -> None:
    assert not [name for name in aggregate.key if aggregate.columns[name].nullable]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_contract_is_archived_with_its_place_in_the_log(contract: Event) -> None:
    head = f"insert into `lake`.`events`.`{contract.table}`\n"
    (insert,) = [text for text in plan().inserts if text.startswith(head)]
    columns = re.search(r"select (.*)\nfrom `arrived_(\w+)`( where `unreadable_reason` is null)?$", insert)
    assert columns is not None
    assert columns[2] == contract.table, "the archive holds what arrived: late events and duplicates too"
    names = re.findall(r"`(\w+)`(?:,|$)", re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", columns[1]))
    assert names == list(lake_columns(contract))
    assert names[-4:] == list(LOG_POSITION)


@pytest.mark.parametrize("contract", AVRO_CONTRACTS)
def test_a_topic_is_read_from_its_beginning_with_the_contracts_own_schema(contract: Event) -> None:
    (source,) = [text for text in plan().statements if created(text) == f"arrived_{contract.table}"]
    assert f"'topic' = '{contract.topic}'" in source
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    (schema,) = re.findall(r"'value.avro-or-reason.schema' = '((?:[^']|'')*)'", source)
    assert json.loads(schema.replace("''", "'")) == contract.avro_schema


def test_a_name_with_a_quote_in_it_stays_within_its_option() -> None:
    shop = replace(DEPLOYMENT, postgres_database="anna's")
    (sink,) = [text for text in live_plan(shop).statements if created(text) == "versions.sessions_v1"]
    assert "'username' = 'anna''s_flink'" in sink


def test_the_owners_password_is_in_no_statement() -> None:
    assert not [text for text in plan().statements if "it''s secret" in text or DEPLOYMENT.postgres_password in text]


def test_checkpoints_are_aligned_and_kept_on_cancel() -> None:
    settings = plan().settings
    assert settings["execution.checkpointing.unaligned.enabled"] == "false"
    assert settings["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"


def test_state_outlives_the_horizon() -> None:
    """A duplicate that comes after its id's state expired must be late."""
    assert DEPLOYMENT.state_ttl_hours > DEPLOYMENT.horizon_hours
    assert plan().settings["table.exec.state.ttl"] == f"{DEPLOYMENT.state_ttl_hours} h"


def test_mini_batch_is_off() -> None:
    assert not [key for key in plan().settings if "mini-batch" in key]


def test_the_plan_is_the_same_each_time() -> None:
    """A job finds its state again by the shape of its plan."""
    assert live_plan(DEPLOYMENT).to_json() == live_plan(DEPLOYMENT).to_json()


@pytest.mark.parametrize("hours", [1, 2, 24, 100, 8760])
def test_any_horizon_is_an_interval_that_flink_takes(hours: int, flink: FlinkProcess) -> None:
    statements = live_plan(replace(DEPLOYMENT, horizon_hours=hours)).statements
    ours = [s for s in statements if created(s) in ("arrived_stock_moved", "judged_stock_moved")]
    query = "select is_late from judged_stock_moved"
    (columns,) = flink.describe(plan().settings, [Part(name="live", statements=ours, queries=[query])])
    assert columns == {"is_late": "BOOLEAN NOT NULL"}


def test_what_a_late_event_would_have_counted_in_is_known_by_name() -> None:
    assert touched_by(event("inventory.stock_moved")) == ["stock_moves_per_hour"]
    assert touched_by(event("public.wiki_edited")) == ["wiki_edits_per_minute"]
    assert touched_by(event("ops.dead_letter")) == []
    assert set(touched_by(event("sales.order_placed"))) >= {"sales_per_minute", "order_lines"}
