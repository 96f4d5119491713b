"""``insights privacy`` in a running stack: a person's traces are found, handed over, and gone to the last byte."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import psycopg
import pyarrow.parquet
import pytest
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from typer.testing import CliRunner, Result

from insights.cli.main import app
from insights.privacy.person import written
from insights.settings import Settings
from insights.wiring import deployment
from producers import runner
from producers.collect import keys as collect_keys
from producers.collect.batch import read
from producers.collect.intake import Intake as WebIntake
from producers.connect.connections import Connection, Connections, Credentials
from producers.connect.intake import Intake
from producers.connect.memory import Memory
from producers.connect.orders import guest
from producers.persons.keys import FILE
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.shop.customer_keys import KeyStore
from producers.shop.identifiers import event_id_of
from producers.shop.occurrences import CUSTOMER_CHANGED
from producers.shop.people import customer_id
from producers.sources import source
from schemas.catalogue import event, events
from schemas.errors import RowsRefused
from schemas.registry import Registry
from tests.conftest import wait_until
from tests.producers.collect.test_batches import EVENT
from tests.producers.connect.conftest import changed
from tests.shops.woocommerce import WooCommerce
from warehouse.tables import open_lake

RUNNER = CliRunner()
OPENS = Credentials(key="ck", secret="cs", webhook_secret="hook")
NUMBERED = """
select table_schema, table_name from information_schema.tables
where table_type = 'BASE TABLE' and table_schema in ('versions', 'events', 'live', 'marts')
"""
MAPPING = """
source = "{name}-file"
[columns]
order_id = "Name"
customer_id = "Email"
occurred_at = "Date"
product_id = "Item"
total = "Price"
[constants]
category = "bikes"
region = "DE"
currency = "EUR"
channel = "web"
"""


@dataclass
class Anna:
    """A person whose name and address stand nowhere else, and what they did."""

    stack: Settings
    name: str
    first_name: str
    email: str
    number: int
    connection: Connection
    shop: WooCommerce
    folder: Path
    run: Callable[..., Result]

    @property
    def guest(self) -> str:
        return guest(self.email, "", self.connection.shop)

    @property
    def markers(self) -> list[str]:
        return [self.first_name, self.email]

    def billed(self, body: bytes, **fields: Any) -> bytes:
        address = {"first_name": self.first_name, "email": self.email, "country": "DE", "phone": "0151"}
        return changed(body, customer_id=0, billing=address, **fields)

    def running(self, name: str, **options: Any) -> Run:
        publisher = Publisher(self.stack.kafka, Registry(self.stack.registry_url), client_id="test", currency="EUR")
        return Run(
            source=source(name),
            options=Options(state=self.stack.producers_dir, **options),
            publisher=publisher,
            stop=Stop(),
            log=structlog.get_logger(),
        )

    def orders(self, *bodies: bytes) -> None:
        with closing(Memory(self.stack.producers_dir / f"{self.name}.sqlite")) as memory:
            intake = Intake(self.running("connections"), memory)
            for body in bodies:
                intake.take(self.connection, body)
            intake.commit(30)

    def visit(self, *sent: dict[str, Any]) -> None:
        now = int(datetime.now(UTC).timestamp() * 1000)
        key = collect_keys.Key(name=self.name, key="wk", origins=frozenset())
        intake = WebIntake(self.running("collect"), collect_keys.opened(self.stack.producers_dir), lambda: now)
        found = [{**EVENT, "id": uuid.uuid4().hex, "at": now, **each} for each in sent]
        body = json.dumps({"sent_at": now, "visitor": "v1", "events": found}).encode()
        intake.take(key, ("v1",), read(body))
        intake.commit(30)
        intake.close()

    def file(self) -> None:
        """An order under the address, and one that can't be counted."""
        rows, mapping = self.folder / "orders.csv", self.folder / "mapping.toml"
        at = f"{datetime.now(UTC) - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        rows.write_text(
            f"Name,Email,Date,Item,Price\nF1,{self.email},{at},bike,99.00\nF2,{self.email},{self.first_name},b,1\n"
        )
        mapping.write_text(MAPPING.format(name=self.name))
        options = Options(
            kafka=self.stack.kafka,
            registry_url=self.stack.registry_url,
            state=self.stack.producers_dir,
            from_file=rows,
            mapping=mapping,
        )
        with pytest.raises(RowsRefused):
            runner.run(source("orders"), options, Registry(self.stack.registry_url), Stop())

    def signs_up(self) -> None:
        with closing(KeyStore(self.stack.producers_dir / FILE)) as keys:
            sealed = [keys.seal(self.number, "name", self.first_name), keys.seal(self.number, "email", self.email)]
        now = datetime.now(UTC)
        this = self.running("shop")
        changed_now = {
            "event_id": event_id_of(self.name, "signs up", int(now.timestamp() * 1000)),
            **{"occurred_at": now.replace(microsecond=0), "source": self.name, "trace": None},
            **{"customer_id": customer_id(self.number), "region": "EU", "signup_date": now.date()},
            **{"age_band": "unknown", "name_encrypted": sealed[0], "email_encrypted": sealed[1]},
        }
        this.publish(CUSTOMER_CHANGED, changed_now)
        this.publisher.flush()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.postgres_dsn) as postgres:
            return postgres.execute(sql.encode(), values).fetchall()


@pytest.fixture
def anna(stack: Settings, stack_environment: dict[str, str], tmp_path: Path, monkeypatch: Any) -> Iterator[Anna]:
    for variable, value in stack_environment.items():
        monkeypatch.setenv(variable, value)
    name, mark = f"shop-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    shop, connections = WooCommerce(), Connections(stack.producers_dir)
    connection = connections.add(
        name=name, platform="woocommerce", url="https://a.b", since=shop.now - timedelta(days=1), credentials=OPENS
    )
    connections.remove(name)  # no part of the stack shall follow it
    yield Anna(
        stack=stack,
        name=name,
        first_name=f"Änna{mark}",
        email=f"{mark}@mail.example",
        number=int(mark[:6], 16) + 10_000_000,
        connection=connection,
        shop=shop,
        folder=tmp_path,
        run=lambda *words: RUNNER.invoke(app, ["privacy", *words]),
    )
    (stack.producers_dir / f"{name}.sqlite").unlink()


def everything_of(value: Any) -> Iterator[bytes]:
    """Texts and bytes in what a format's reader gives."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from everything_of(name)
            yield from everything_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from everything_of(each)
    elif isinstance(value, str | bytes):
        yield value.encode() if isinstance(value, str) else value


def unpacked(path: Path) -> list[Any] | None:
    """The values of a file in Parquet or Avro; None while it is being written."""
    try:
        if path.suffix == ".parquet":
            return [pyarrow.parquet.read_table(path).to_pylist()]
        with path.open("rb") as file:
            return [list(fastavro.reader(file))]
    except (EOFError, ValueError):
        return None


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes, which have Parquet's statistics, and what stands in it compressed: values of Parquet and Avro."""
    yield path.read_bytes()
    if path.suffix in (".parquet", ".avro"):
        yield from everything_of(wait_until(lambda: unpacked(path), seconds=20, what=f"{path} is whole"))


def log(stack: Settings) -> Iterator[tuple[str, bytes]]:
    """Every record on the log, with its key and its headers: batches are compressed there."""
    consumer = Consumer({**stack.kafka.librdkafka, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    places = [(each.topic, n) for each in events() for n in range(each.partitions)]
    ends = {place: consumer.get_watermark_offsets(TopicPartition(*place))[1] for place in places}
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place, end in ends.items() if end])
    while any(consumer.position([TopicPartition(*place)])[0].offset < end for place, end in ends.items() if end):
        for message in consumer.consume(1_000, timeout=1):
            yield message.topic(), b"".join(everything_of([message.key(), message.value(), message.headers()]))
    consumer.close()


def places_with(stack: Settings, texts: Sequence[str]) -> set[str]:
    """Files of the data folder, and topics, in which one of the texts stands, in plain."""
    wanted = [
        form.encode() for text in texts for each in (text, json.dumps(text)[1:-1]) for form in (each, *written(each))
    ]
    found = {topic for topic, content in log(stack) if any(form in content for form in wanted)}
    # Folders, too, may go while they are read: `walk` passes over those.
    files = (Path(folder) / name for folder, _, names in os.walk(stack.home) for name in names)
    for path in (each for each in files if each.is_file() and not each.is_symlink()):
        try:
            if any(form in content for content in contents(path) for form in wanted):
                found.add(str(path))
        except FileNotFoundError:  # a server tidied it away
            continue
    return found


def numbers(anna: Anna) -> dict[str, Any]:
    """Each table that people read, whole, as one number."""
    found = {}
    for schema, table in anna.rows(NUMBERED):
        rows = f"select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from {schema}.{table} t"
        found[f"{schema}.{table}"] = anna.rows(rows)[0]
    return found


def in_the_lake(anna: Anna, name: str) -> int:
    with open_lake(deployment(anna.stack)) as lake:
        newest = lake.load_table(("events", event(name).table)).current_snapshot()
    return int(newest.summary["total-records"]) if newest and newest.summary else 0


def on_the_log(anna: Anna, name: str) -> int:
    return sum(topic == event(name).topic for topic, _ in log(anna.stack))


def has_everything(anna: Anna) -> bool:
    """Whether all that was published is in the tables and in the lake."""
    counted = anna.rows("select count(*) from events.orders where source like %s", f"{anna.name}%")
    signed_up = anna.rows("select count(*) from events.customers where customer_id = %s", customer_id(anna.number))
    return (
        counted == [(2,)]
        and signed_up == [(1,)]
        and all(
            in_the_lake(anna, name) == on_the_log(anna, name)
            for name in ("ops.dead_letter", "sales.order_placed", "web.interaction", "customers.customer_changed")
        )
    )


def test_a_person_is_exported_and_then_gone_to_the_last_byte_and_no_number_changes(anna: Anna, capfd: Any) -> None:
    placed = anna.shop.place(customer_id=0, email=anna.email, fee=0)
    body = anna.billed(anna.shop.delivery(placed).body)
    spoilt = anna.billed(anna.shop.delivery(anna.shop.place()).body, total=anna.first_name)
    anna.orders(body, spoilt, f"no JSON of {anna.email}".encode())
    anna.visit({"page": f"/{anna.name}"}, {"user_id": anna.email}, {"page": anna.first_name, "interaction": "purchase"})
    anna.file()
    anna.signs_up()
    wait_until(lambda: has_everything(anna), seconds=90, what="tables and lake have it all", every=0.5)
    found = places_with(anna.stack, [f"/{anna.name}"])
    assert {Path(each).suffix for each in found} >= {".v1", ".parquet", ""}, "what is in plain is found where it lies"
    assert not places_with(anna.stack, anna.markers), "nothing of theirs is anywhere in plain"
    assert not any(marker in "".join(capfd.readouterr()) for marker in anna.markers), "nor in what sources log"
    listed = RUNNER.invoke(app, ["dead-letters", "--json"]).stdout
    assert sum(anna.email in json.dumps(each) or anna.first_name in str(each) for each in json.loads(listed)) >= 2

    exported = anna.run("export", anna.email, "--mentioning", anna.first_name, "--to", str(anna.folder / "anna.json"))
    assert exported.exit_code == 0, exported.output
    document = json.loads((anna.folder / "anna.json").read_text())
    assert len(document["customers"]) == 2
    assert anna.guest in document["customers"]
    records = {each["event"]: each["records"] for each in document["events"]}
    assert {record["order_id"] for record in records["sales.order_placed"]} == {f"{anna.name}-{placed.id}", "F1"}
    assert len(document["dead_letters"]) == 5
    mark = anna.email.partition("@")[0]
    assert all(mark in each["original"] for each in document["dead_letters"])
    simulated = json.loads(anna.run("export", customer_id(anna.number)).stdout)
    (state,) = [each["records"][0] for each in simulated["events"] if each["records"]]
    assert (state["name"], state["email"]) == (anna.first_name, anna.email)

    before = numbers(anna)
    for said in (anna.email, customer_id(anna.number)):
        erased = anna.run("erase", said, "--mentioning", anna.first_name, "--yes")
        assert erased.exit_code == 0, erased.output
    assert numbers(anna) == before
    again = anna.run("erase", anna.email, "--yes")
    assert (again.exit_code, "there is no data since then" in " ".join(again.stdout.split())) == (0, True)
    for said in (anna.email, anna.guest, customer_id(anna.number)):
        refused = anna.run("export", said)
        assert (refused.exit_code, "there is nothing to export" in " ".join(refused.stderr.split())) == (1, True)
    listed = RUNNER.invoke(app, ["dead-letters", "--json"]).stdout
    assert not any(json.dumps(marker)[1:-1] in listed for marker in anna.markers)
    assert "erased, or older than dead letters are kept" in listed
    assert not places_with(anna.stack, anna.markers)
    erasures = [content for topic, content in log(anna.stack) if topic == event("customers.customer_erased").topic]
    assert sum(anna.guest.encode() in content for content in erasures) == 2, "a second run says the same event again"

    later = anna.shop.place(customer_id=0, email=anna.email)
    placed.fee += 100
    edited = anna.shop.change(placed, at=placed.modified + timedelta(minutes=1))
    anna.orders(anna.billed(anna.shop.delivery(later).body), anna.billed(anna.shop.delivery(edited).body))
    who = "select order_id, customer_id from events.orders where order_id like %s"
    wait_until(lambda: len(anna.rows(who, f"{anna.name}-%")) == 2, what="the new order is counted")
    found = dict(anna.rows(who, f"{anna.name}-%"))
    assert found[f"{anna.name}-{placed.id}"] == anna.guest, "what was theirs stays the erased pseudonym's"
    assert found[f"{anna.name}-{later.id}"].startswith("again-")
    fresh = json.loads(anna.run("export", anna.email).stdout)
    assert fresh["customers"] == [found[f"{anna.name}-{later.id}"]]


def test_nobody_is_not_exported_and_a_file_that_can_not_be_written_is_named(anna: Anna) -> None:
    anna.orders()
    unknown = anna.run("export", "nobody-1")
    assert unknown.exit_code == 1
    assert "there is no data about 'nobody-1'" in " ".join(unknown.stderr.split())
    anna.visit({"page": "/", "user_id": "7"})
    wait_until(lambda: anna.run("export", f"{anna.name}-7").exit_code == 0, what="a visit is theirs", every=0.5)
    unwritten = anna.run("export", f"{anna.name}-7", "--to", str(anna.folder / "missing" / "anna.json"))
    assert unwritten.exit_code == 1
    assert "anna.json can't be written: No such file or directory" in " ".join(unwritten.stderr.split())
    kept = RUNNER.invoke(app, ["privacy", "erase", f"{anna.name}-7"], input="n\n")
    assert kept.exit_code == 1
    assert anna.run("export", f"{anna.name}-7").exit_code == 0
