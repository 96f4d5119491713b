"""The live plan with files for its Kafka topics, its Postgres tables and its lake; everything between is untouched.

Only the connector of each table is exchanged, in the text of the plan's own statements: views and inserts run as they
are. A source's file is read in its order, so that what is late is certain.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from aggregates.catalogue import Aggregate, Column, ColumnType
from flink.columns import flink_type
from flink.job_sql import JobPlan, live_plan
from flink.live_job import LiveJob
from insights.wiring import QUICK_PLANS
from schemas.avro_types import record_arrays
from schemas.catalogue import Event, events
from schemas.kafka import Kafka
from tests.flink.process import Part
from warehouse.columns import lake_columns
from warehouse.deployment import Deployment
from warehouse.sinks import DEAD_RECORDS, EVENT_COUNTS, LATE_EVENTS, Sink

Record = Mapping[str, Any]
Row = dict[str, Any]

DEPLOYMENT = Deployment(
    kafka=Kafka("127.0.0.1:9"),
    registry="http://127.0.0.1:9",
    postgres_host="127.0.0.1",
    postgres_port=9,
    postgres_database="insights",
    postgres_user="insights",
    postgres_password="it's secret",
    lake_database="lake",
    lake_warehouse="file:///nowhere",
    flink_url="http://127.0.0.1:9",
    flink_python=Path("/nowhere/python"),
    flink_home=Path("/nowhere/flink"),
    java_home=Path("/nowhere/java"),
    conf_dir=Path("/nowhere/conf"),
    lib_dir=Path("/nowhere/lib"),
    snapshots_dir=Path("/nowhere/snapshots"),
    jobs_dir=Path("/nowhere/jobs"),
    work_dir=Path("/nowhere/work"),
    currency="EUR",
    horizon_hours=24,
    state_ttl_hours=24 * 8,
    idle_timeout_seconds=60,
    checkpoint_interval_seconds=10,
    parallelism=1,
)
"""Nothing listens there: neither planning nor running on files asks anybody."""


def with_database(dsn: str, **others: Any) -> Deployment:
    """That deployment with this Postgres, and whatever else is said of it."""
    at = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return replace(
        DEPLOYMENT,
        postgres_host=at["host"],
        postgres_port=int(at["port"]),
        postgres_database=at["dbname"],
        postgres_user=at["user"],
        postgres_password=at["password"],
        **others,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A record as it stands in the log. Without a place (partition, offset) it is the next of partition 0."""

    record: Record
    published_at: datetime
    schema_id: int = 1
    place: tuple[int, int] | None = None


def plan(floors: Mapping[str, datetime] | None = None, job: LiveJob | None = None) -> JobPlan:
    return live_plan(DEPLOYMENT, floors, job)


def settings() -> dict[str, str]:
    """The live job's, but for what a job of a second must not do: start again when it fails, take checkpoints."""
    kept = {key: value for key, value in plan().settings.items() if "checkpointing" not in key}
    return {
        **{key: value for key, value in kept.items() if not key.startswith("restart-strategy")},
        **QUICK_PLANS,
        "restart-strategy.type": "none",
        # Flink's own watermark is of all partitions of a file, and comes when it likes: a job of files has none.
        "pipeline.auto-watermark-interval": "36500 d",
        "taskmanager.memory.network.min": "128 mb",
        "taskmanager.memory.network.max": "128 mb",
    }


def on_files(
    name: str,
    arrivals: Mapping[str, Iterable[Arrival]],
    folder: Path,
    wanted: Aggregate | None,
    floors: Mapping[str, datetime] | None = None,
    job: LiveJob | None = None,
) -> Part:
    """The live plan's statements, reading ``{event name: arrivals}`` and writing to files in ``folder``.

    With an aggregate, what concerns that one alone. ``floors`` and ``job`` are live_plan's.
    """
    whole = plan(floors, job)
    inputs = [e for e in events() if wanted is None or e.name in wanted.inputs]
    for e in inputs:
        write_topic(folder / "in" / e.table, e, arrivals.get(e.name, ()))
    relations = {relation for e in inputs for relation in _relations(e)}
    sinks = {wanted.table} if wanted else {s for s in map(created, whole.statements) if "." in s}
    statements = [
        _exchanged(statement, folder) for statement in whole.statements if created(statement) in relations | sinks
    ]
    if wanted is None:
        statements = [*lake_on_files(folder), *statements]
    inserts = [i for i in whole.inserts if wanted is None or i.startswith(f"insert into `{wanted.table}`")]
    return Part(name=name, statements=statements, inserts=inserts)


def created(statement: str) -> str:
    """Name of what a statement creates: ``live.sessions``."""
    found = re.match(r"create (?:temporary )?(?:table|view|catalog) `([^`]+)`", statement)
    assert found, statement
    return found[1]


def _relations(e: Event) -> list[str]:
    steps = ("arrived", "judged", "numbered", "once")
    arrays = record_arrays(e.avro_schema)
    return [*(f"{step}_{e.table}" for step in steps), e.table, *(f"{e.table}_{array}" for array in arrays)]


def _exchanged(statement: str, folder: Path) -> str:
    """The statement with files instead of its connector."""
    columns, table, _ = statement.partition("\n) with (\n")
    if not table:
        return statement
    name = created(statement)
    is_source = name.startswith("arrived_")
    # A file has no record's metadata: it stands in columns of its own.
    columns = re.sub(r" metadata from '\w+' virtual", "", columns)
    columns = re.sub(r",\n  primary key \(.*\) not enforced", "", columns)
    path = folder / "in" / name.removeprefix("arrived_") if is_source else folder / "out" / name
    return columns + _files(path, "json" if is_source else "debezium-json")


def _files(path: Path, file_format: str) -> str:
    options = {
        "connector": "filesystem",
        "path": path.as_uri(),
        "format": file_format,
        f"{file_format}.timestamp-format.standard": "ISO-8601",
    }
    if file_format == "debezium-json":
        options["debezium-json.encode.decimal-as-plain-number"] = "true"
    return "\n) with (\n" + ", ".join(f"'{key}' = '{value}'" for key, value in options.items()) + "\n)"


def lake_on_files(folder: Path) -> list[str]:
    """A catalog called lake with the tables that warehouse/tables.py makes in Iceberg, whose times have a zone."""
    tables = [
        f"create table `lake`.`events`.`{e.table}` (\n  "
        + ",\n  ".join(f"`{name}` {_lake_type(avro)}" for name, avro in lake_columns(e).items())
        + _files(folder / "out" / f"lake.{e.table}", "debezium-json")
        for e in events()
    ]
    return ["create catalog `lake` with ('type' = 'generic_in_memory', 'default-database' = 'events')", *tables]


def _lake_type(avro: Any) -> str:
    return flink_type(avro).replace("timestamp(3)", "timestamp_ltz(6)")


def write_topic(folder: Path, e: Event, arrivals: Iterable[Arrival]) -> None:
    """A topic as a file of JSON lines."""
    folder.mkdir(parents=True)
    with (folder / "log.json").open("w") as file:
        for number, arrival in enumerate(arrivals):
            partition, offset = arrival.place or (0, number)
            log = {
                "kafka_partition": partition,
                "kafka_offset": offset,
                "kafka_timestamp": _json(arrival.published_at) + "Z",
                "kafka_headers": {"schema_id": _json(str(arrival.schema_id).encode())},
            }
            file.write(json.dumps({**{k: _json(v) for k, v in arrival.record.items()}, **log}) + "\n")


def _json(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {key: _json(item) for key, item in value.items()}
        case list():
            return [_json(item) for item in value]
    return value


def final_rows(folder: Path, aggregate: Aggregate) -> list[Row]:
    """What the sink's table holds at the end, in the order of its key. Fails when two rows have one key."""
    return _by_key(_replayed(folder / "out" / aggregate.table, _kinds(aggregate.columns)), aggregate.key)


def event_counts(folder: Path) -> list[Row]:
    return _ops_rows(folder, EVENT_COUNTS)


def late_events(folder: Path) -> list[Row]:
    return _ops_rows(folder, LATE_EVENTS)


def dead_records(folder: Path) -> list[Row]:
    return _ops_rows(folder, DEAD_RECORDS)


def _ops_rows(folder: Path, sink: Sink) -> list[Row]:
    return _by_key(_replayed(folder / "out" / sink.table, _kinds(sink.columns)), sink.key)


def archived(folder: Path, e: Event) -> list[Row]:
    """The event's rows in the lake, as JSON has them."""
    return [row for row, _ in _changes(folder / "out" / f"lake.{e.table}")]


def _kinds(columns: Mapping[str, Column]) -> dict[str, ColumnType]:
    return {name: column.type for name, column in columns.items()}


def _changes(folder: Path) -> Iterable[tuple[Row, bool]]:
    """(row, whether it was added or taken back) in the order in which they were written."""
    for path in sorted(folder.glob("part-*")):
        for line in path.read_text().split("\n")[:-1]:
            change = json.loads(line, parse_float=Decimal)
            yield (change["after"], True) if change["op"] == "c" else (change["before"], False)


def _replayed(folder: Path, kinds: Mapping[str, ColumnType]) -> list[Row]:
    rows: dict[str, tuple[int, Row]] = {}
    for raw, added in _changes(folder):
        identity = json.dumps(raw, default=str)
        count, row = rows.get(identity, (0, {}))
        rows[identity] = (count + (1 if added else -1), row or {k: _typed(raw[k], kind) for k, kind in kinds.items()})
        assert added or count > 0, f"taken back, but was never there: {raw}"
    return [row for count, row in rows.values() for _ in range(count)]


def _typed(value: Any, kind: ColumnType) -> Any:
    if value is None:
        return None
    match kind:
        case "timestamp":
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        case "date":
            return date.fromisoformat(value)
        case "money" | "charge" | "rate":
            return Decimal(value)
        case "double":
            return float(value)
        case "bytes":
            return base64.b64decode(value)
    return value


def _by_key(rows: list[Row], key: tuple[str, ...]) -> list[Row]:
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in key))
    keys = [tuple(row[name] for name in key) for row in ordered]
    twice = [k for k, following in zip(keys, keys[1:], strict=False) if k == following]
    assert not twice, f"two rows with the key {twice[0]}"
    return ordered
