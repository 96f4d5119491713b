"""What the live job writes to is made from aggregates and contracts, in a real Postgres and a real lake.

Longer than 400 lines, because its tests share one deployment on the stack of the run.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from psycopg import sql
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import HourTransform
from pyiceberg.types import StringType

from aggregates.catalogue import Column, ColumnType, aggregate, aggregates
from flink.live_job import JOB_NAME, keep, kept, main_job, note_events
from flink.rest import FlinkRest
from insights.settings import Settings
from insights.wiring import deployment as deployment_of
from schemas.catalogue import Event, event, events
from schemas.errors import Misconfigured, Retryable
from tests.flink.live_on_files import DEPLOYMENT
from tests.schemas.thing_happened import THING_HAPPENED, line_fields, of, the_field
from warehouse.columns import lake_columns, lake_schema
from warehouse.deployment import Deployment
from warehouse.sinks import Sink, sink_inputs, sinks
from warehouse.tables import archived_fields, check_sink, create_lake_table, create_tables, open_lake, sink_ddl

SINKS = [pytest.param(s, id=s.table) for s in sinks()]
CONTRACTS = [pytest.param(e, id=e.name) for e in events()]
POSTGRES_TYPES = {
    "timestamp": "timestamp with time zone",
    "date": "date",
    "string": "text",
    "bytes": "bytea",
    "boolean": "boolean",
    "double": "double precision",
    "int": "integer",
    "count": "bigint",
    "money": "numeric",
    "charge": "numeric",
    "rate": "numeric",
}

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def deployment(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The stack's servers with databases and a warehouse of our own, in which nothing is yet."""
    theirs = deployment_of(stack)
    name = f"tables_{uuid.uuid4().hex}"
    ours = replace(
        theirs,
        postgres_database=name,
        lake_database=f"{name}_lake",
        lake_warehouse=tmp_path_factory.mktemp("warehouse").as_uri(),
    )
    with psycopg.connect(theirs.postgres_dsn, autocommit=True) as connection:
        for database in (ours.postgres_database, ours.lake_database):
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    create_tables(ours, ())
    yield ours
    with psycopg.connect(theirs.postgres_dsn, autocommit=True) as connection:
        for database in (ours.postgres_database, ours.lake_database):
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with psycopg.connect(deployment.postgres_dsn) as connection:
        yield connection


@pytest.fixture(scope="module")
def lake(deployment: Deployment) -> Iterator[Catalog]:
    catalog = open_lake(deployment)
    yield catalog
    catalog.close()


@pytest.mark.parametrize("made", SINKS)
def test_a_sinks_table_has_the_sinks_columns(made: Sink, connection: Connection) -> None:
    found = connection.execute(
        "select column_name, data_type, is_nullable from information_schema.columns"
        " where table_schema || '.' || table_name = %s order by ordinal_position",
        (made.table,),
    ).fetchall()
    expected = [(n, POSTGRES_TYPES[c.type], "YES" if c.nullable else "NO") for n, c in made.columns.items()]
    assert found == expected


@pytest.mark.parametrize("made", SINKS)
def test_a_sinks_table_has_the_sinks_key(made: Sink, connection: Connection) -> None:
    """An upsert goes by the table's key: with another one it would not replace what it should."""
    found = connection.execute(
        "select a.attname from pg_index i, unnest(i.indkey) with ordinality as k (attnum, place)"
        " join pg_attribute a on a.attnum = k.attnum"
        " where i.indrelid = %(sink)s::regclass and a.attrelid = i.indrelid and i.indisprimary order by k.place",
        {"sink": made.table},
    ).fetchall()
    assert [name for (name,) in found] == list(made.key)


@pytest.mark.parametrize("made", SINKS)
def test_a_sinks_table_has_comments(made: Sink, connection: Connection) -> None:
    (comment,) = connection.execute("select obj_description(%s::regclass)", (made.table,)).fetchone() or ("",)
    assert comment == made.description


def test_money_is_exact_at_the_contracts_limits(connection: Connection) -> None:
    (scale, precision) = connection.execute(
        "select numeric_scale, numeric_precision from information_schema.columns"
        " where table_schema = 'live' and table_name = 'sales_per_minute' and column_name = 'sales_amount'"
    ).fetchone() or (0, 0)
    assert (scale, precision) == (2, 38)


def test_making_them_twice_changes_nothing(deployment: Deployment, connection: Connection, lake: Catalog) -> None:
    connection.execute("insert into ops.finality values ('sessions', now(), now(), 7, now())")
    connection.commit()
    create_tables(deployment, ())
    assert connection.execute("select checkpoint_id from ops.finality").fetchall() == [(7,)]
    assert len(lake.list_tables("events")) >= len(events())


@contextmanager
def altered(connection: Connection, change: str, back: str) -> Iterator[None]:
    connection.execute(change)
    connection.commit()
    try:
        yield
    finally:
        connection.execute(back)
        connection.commit()


REFUSED = {
    "type": (
        "drop view live.sessions; alter table versions.sessions_v1 alter column carts type integer",
        "alter table versions.sessions_v1 alter column carts type bigint",
        "versions.sessions_v1 in Postgres differs from aggregates/sessions/aggregate.toml: column carts is integer"
        " not null and should be bigint not null. ",
    ),
    "scale": (
        "drop view live.sales_per_minute;"
        " alter table versions.sales_per_minute_v1 alter column sales_amount type numeric(38, 4)",
        "alter table versions.sales_per_minute_v1 alter column sales_amount type numeric(38, 2)",
        "column sales_amount is numeric(38,4) not null and should be numeric(38,2) not null. ",
    ),
    "nulls": (
        "alter table versions.sessions_v1 alter column carts drop not null",
        "alter table versions.sessions_v1 alter column carts set not null",
        "column carts is bigint and should be bigint not null. ",
    ),
    "name": (
        "alter table versions.sessions_v1 rename column carts to baskets",
        "alter table versions.sessions_v1 rename column baskets to carts",
        "column carts is missing and should be bigint not null; column baskets is bigint not null and should be gone. ",
    ),
    "one more": (
        "alter table versions.refunds_v3 add column colour text",
        "alter table versions.refunds_v3 drop column colour",
        "versions.refunds_v3 in Postgres differs from aggregates/refunds/aggregate.toml: column colour is text and"
        " should be gone. ",
    ),
    "no key": (
        "alter table ops.finality drop constraint finality_pkey",
        "alter table ops.finality add primary key (aggregate)",
        "ops.finality in Postgres differs from warehouse/sinks.py: the primary key is () and should be (aggregate). ",
    ),
    "order of the key": (
        "alter table ops.late_events drop constraint late_events_pkey,"
        " add primary key (topic, kafka_offset, kafka_partition)",
        "alter table ops.late_events drop constraint late_events_pkey,"
        " add primary key (topic, kafka_partition, kafka_offset)",
        "the primary key is (topic, kafka_offset, kafka_partition) and should be (topic, kafka_partition,"
        " kafka_offset). ",
    ),
}


@pytest.mark.parametrize(("change", "back", "says"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_differs_is_refused_with_what_is_there_and_what_is_wanted(
    deployment: Deployment, connection: Connection, change: str, back: str, says: str
) -> None:
    with altered(connection, change, back), pytest.raises(Misconfigured) as refused:
        create_tables(deployment, ())
    assert says in str(refused.value)
    assert "a changed one is a new version of the aggregate. Or drop the table" in str(refused.value)
    create_tables(deployment, ())


def test_columns_may_stand_in_any_order(deployment: Deployment, connection: Connection) -> None:
    """Each is written by its name."""
    connection.execute("alter table versions.sessions_v1 drop column carts cascade, add column carts bigint not null")
    connection.commit()
    create_tables(deployment, ())


def test_where_one_table_is_refused_none_is_changed(deployment: Deployment, connection: Connection) -> None:
    connection.execute("drop table versions.customers_v1 cascade")
    connection.commit()
    with altered(connection, *REFUSED["type"][:2]), pytest.raises(Misconfigured):
        create_tables(deployment, ())
    assert connection.execute("select to_regclass('versions.customers_v1')").fetchone() == (None,)
    create_tables(deployment, ())
    assert connection.execute("select to_regclass('versions.customers_v1')::text").fetchone() == (
        "versions.customers_v1",
    )


def test_where_a_lakes_table_is_refused_no_table_is_changed(
    deployment: Deployment, connection: Connection, lake: Catalog
) -> None:
    connection.execute("drop table versions.customers_v1 cascade")
    connection.commit()
    with lake.load_table("events.wiki_edited").update_schema() as update:
        update.add_column("colour", StringType())
    try:
        with pytest.raises(Misconfigured, match="column colour is string and should be gone"):
            create_tables(deployment, ())
        assert connection.execute("select to_regclass('versions.customers_v1')").fetchone() == (None,)
    finally:
        with lake.load_table("events.wiki_edited").update_schema() as update:
            update.delete_column("colour")
        create_tables(deployment, ())


def test_a_column_of_any_type_is_the_same_when_it_is_read_back(connection: Connection) -> None:
    columns = {f"a_{kind}": Column(type=kind, doc="It.") for kind in get_args(ColumnType)}
    columns |= {f"any_{kind}": Column(type=kind, doc="It.", nullable=True) for kind in get_args(ColumnType)}
    made = Sink(table="live.any_types", description="All.", columns=columns, key=("a_string", "a_int", "a_date"))
    for statement in sink_ddl(made):
        connection.execute(statement)
    check_sink(connection, made)
    connection.rollback()


def test_rows_that_are_written_again_have_room_in_tables_that_were_there_too(
    deployment: Deployment, connection: Connection
) -> None:
    connection.execute("alter table versions.sessions_v1 reset (fillfactor)")
    connection.commit()
    create_tables(deployment, ())
    options = dict(
        connection.execute(
            "select relnamespace::regnamespace || '.' || relname, reloptions from pg_class where relkind = 'r'"
        ).fetchall()
    )
    assert {a.table: options[a.table] for a in aggregates()} == {
        a.table: None if a.is_fact else ["fillfactor=70"] for a in aggregates()
    }


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_contract_has_a_table_in_the_lake(contract: Event, lake: Catalog) -> None:
    table = lake.load_table(f"events.{contract.table}")
    found = {field.name: (str(field.field_type), field.required) for field in table.schema().fields}
    # The catalog gives nested fields numbers of its own choice: names and kinds are what counts.
    assert list(found) == list(lake_columns(contract))
    simple = {
        f.name: (str(f.field_type), f.required) for f in lake_schema(contract).fields if f.field_type.is_primitive
    }
    assert {name: found[name] for name in simple} == simple
    assert [str(field.transform) for field in table.spec().fields] == ["day"]


def thing(topic: str) -> dict[str, Any]:
    return {**copy.deepcopy(THING_HAPPENED), "topic": f"tests.{topic}.v1"}


def test_a_field_that_a_contract_gained_is_added_at_its_place(lake: Catalog) -> None:
    """Flink's insert into the lake goes by place."""
    contract = thing("thing_gained")
    create_lake_table(lake, of(contract))
    contract["fields"].insert(3, {"name": "gift", "type": ["null", "int"], "default": None})
    create_lake_table(lake, of(contract))
    schema = lake.load_table("events.thing_gained").schema()
    assert schema.find_field("gift").required is False
    assert [field.name for field in schema.fields] == list(lake_columns(of(contract)))


def test_a_line_field_that_a_contract_gained_is_added_at_its_place(lake: Catalog) -> None:
    contract = thing("thing_nested")
    create_lake_table(lake, of(contract))
    line_fields(contract).insert(0, {"name": "gift", "type": ["null", "int"], "default": None})
    create_lake_table(lake, of(contract))
    schema = lake.load_table("events.thing_nested").schema()
    assert schema.find_field("lines.element.gift").required is False
    assert [name for name in schema.column_names if name.startswith("lines.element.")] == [
        f"lines.element.{field['name']}" for field in line_fields(contract)
    ]


def test_lines_that_a_contract_gained_are_added_with_all_that_they_hold(lake: Catalog) -> None:
    contract = thing("thing_widened")
    create_lake_table(lake, of(contract))
    gift = {"type": "record", "name": "Gift", "fields": [{"name": "worth", "type": "int"}]}
    contract["fields"].insert(2, {"name": "gifts", "type": ["null", {"type": "array", "items": gift}], "default": None})
    create_lake_table(lake, of(contract))
    schema = lake.load_table("events.thing_widened").schema()
    assert schema.find_field("gifts.element.worth").required is True
    assert [field.name for field in schema.fields] == list(lake_columns(of(contract)))


def test_a_job_of_a_release_whose_lake_had_a_column_less_is_noted_without_it_before_the_lake_has_it(
    deployment: Deployment, lake: Catalog, tmp_path: Path
) -> None:
    ours = replace(deployment, jobs_dir=tmp_path / "jobs")
    older = replace(main_job(), events=(), fields={})
    keep(ours, older)
    placed = lake.load_table("events.order_placed")
    with placed.update_schema() as update:
        update.delete_column("charged_rate_on")
    lake.drop_table("events.rate_published")
    note_events(ours, archived_fields(ours))
    create_tables(ours, ())
    note_events(ours, archived_fields(ours))
    noted = kept(ours)
    assert noted is not None
    wanted = main_job()
    assert noted.events == tuple(name for name in wanted.events if name != "finance.rate_published")
    fields = wanted.fields["sales.order_placed"]
    assert noted.fields["sales.order_placed"] == tuple(name for name in fields if name != "charged_rate_on")
    assert [f.name for f in lake.load_table("events.order_placed").schema().fields] == list(
        lake_columns(event("sales.order_placed"))
    ), "and the lake has it at its place"
    assert "rate_published" in {name for _, name in lake.list_tables("events")}


def lost(contract: dict[str, Any]) -> None:
    contract["fields"].remove(the_field(contract, "note"))


def gained_that_is_required(contract: dict[str, Any]) -> None:
    contract["fields"].append({"name": "gift", "type": "int"})


def gained_in_lines_that_is_required(contract: dict[str, Any]) -> None:
    line_fields(contract).append({"name": "gift", "type": "int"})


def wider(contract: dict[str, Any]) -> None:
    the_field(contract, "amount")["type"] = "long"


def scaled(contract: dict[str, Any]) -> None:
    the_field(contract, "price")["type"]["scale"] = 3


def no_longer_null(contract: dict[str, Any]) -> None:
    the_field(contract, "note")["type"] = "string"


def null_in_lines(contract: dict[str, Any]) -> None:
    line_fields(contract)[0]["type"] = ["null", "int"]


def no_longer_lines(contract: dict[str, Any]) -> None:
    the_field(contract, "lines")["type"] = "string"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lost, "column note is string and should be gone"),
        (gained_that_is_required, "column gift is missing and should be int not null"),
        (gained_in_lines_that_is_required, "column lines.element.gift is missing and should be int not null"),
        (wider, "column amount is int not null and should be long not null"),
        (scaled, "column price is decimal(12, 2) not null and should be decimal(12, 3) not null"),
        (no_longer_null, "column note is string and should be string not null"),
        (null_in_lines, "column lines.element.quantity is int not null and should be int"),
        (no_longer_lines, "column lines is list not null and should be string not null"),
    ],
)
def test_a_lakes_table_that_differs_is_refused_and_stays(
    change: Callable[[dict[str, Any]], None], says: str, lake: Catalog
) -> None:
    contract = thing(change.__name__)
    create_lake_table(lake, of(contract))
    before = lake.load_table(f"events.{change.__name__}").metadata_location
    # Something to add makes no difference.
    contract["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    change(contract)
    with pytest.raises(Misconfigured) as refused:
        create_lake_table(lake, of(contract))
    assert f"events.{change.__name__} in the lake differs from the contract tests.{change.__name__}: " in str(
        refused.value
    )
    assert says in str(refused.value)
    assert lake.load_table(f"events.{change.__name__}").metadata_location == before


def test_a_lakes_table_that_is_partitioned_otherwise_is_refused(lake: Catalog) -> None:
    contract = of(thing("thing_divided"))
    create_lake_table(lake, contract)
    with lake.load_table("events.thing_divided").update_spec() as update:
        update.remove_field("kafka_day")
        update.add_field("kafka_timestamp", HourTransform(), "kafka_hour")
    with pytest.raises(
        Misconfigured, match=r"the partitioning is \(hour\(kafka_timestamp\)\) and should be \(day\(kafka_timestamp\)\)"
    ):
        create_lake_table(lake, contract)


KEPT = {
    "flink.max-continuous-empty-commits": "2147483647",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def test_a_lakes_table_has_its_properties_and_so_has_one_that_was_there(lake: Catalog) -> None:
    contract = of(thing("thing_kept"))
    create_lake_table(lake, contract)
    table = lake.load_table("events.thing_kept")
    made = dict(table.properties)
    assert KEPT.items() <= made.items()
    with table.transaction() as transaction:
        transaction.remove_properties("flink.max-continuous-empty-commits")
        transaction.set_properties({"write.metadata.previous-versions-max": "100", "theirs": "kept"})
    create_lake_table(lake, contract)
    assert lake.load_table("events.thing_kept").properties == {**made, "theirs": "kept"}


def test_a_lakes_table_that_is_as_it_should_be_is_not_written(lake: Catalog) -> None:
    contract = of(thing("thing_untouched"))
    create_lake_table(lake, contract)
    before = lake.load_table("events.thing_untouched").metadata_location
    create_lake_table(lake, contract)
    assert lake.load_table("events.thing_untouched").metadata_location == before


def test_a_silent_topics_table_gathers_no_snapshots(stack: Settings, until: Callable[..., Any]) -> None:
    rest = FlinkRest(stack.flink_url)

    def checkpoints() -> int:
        newest = rest.newest_checkpoint(rest.active_job(JOB_NAME) or "")
        return newest.id if newest else 0

    until(lambda: checkpoints() > 12, seconds=120, what="a dozen checkpoints")
    with open_lake(deployment_of(stack)) as catalog:
        made = catalog.load_table("events.vehicle_moved").snapshots()
        assert [s for s in made if not s.summary or s.summary.get("added-records", "0") == "0"] == []


def test_a_postgres_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="Postgres at 127.0.0.1:9 is unreachable"):
        create_tables(replace(DEPLOYMENT, lake_warehouse=tmp_path.as_uri()), ())


def test_what_a_table_counts_is_known_by_its_topics() -> None:
    assert sink_inputs()["live.product_activity_per_hour"] == ("web.interaction.v1", "sales.order_placed.v1")
    assert set(sink_inputs()) == {a.sink for a in aggregates()}
    assert aggregate("sessions").sink in sink_inputs()


def test_a_password_of_any_letters_is_the_one_that_is_sent() -> None:
    awkward = replace(DEPLOYMENT, postgres_password="a b@/:%é'")
    sent = psycopg.conninfo.conninfo_to_dict(awkward.postgres_dsn)
    assert (sent["password"], sent["host"], sent["port"]) == ("a b@/:%é'", "127.0.0.1", "9")
