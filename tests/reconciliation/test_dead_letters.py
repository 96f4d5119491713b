"""What `insights dead-letters` lists: letters from a real log, records from a real Postgres."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from insights.cli import dead_event_views
from insights.cli.main import app
from insights.settings import PROJECT, Settings
from producers.publisher import Publisher
from reconciliation.dead_records import NEWEST, listed
from schemas.catalogue import event
from schemas.errors import ContractBroken, Retryable
from schemas.registry import Registry
from warehouse.tables import make_postgres_tables

RUNNER = CliRunner()
ORDERS, CLICKS = "sales.order_placed.v1", "web.interaction.v1"
PUBLISHED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MAPPING = """
source = "bikes"
date_format = "%Y-%m-%d %H:%M"
zone = "UTC"

[columns]
order_id = "Order"
customer_id = "Customer"
occurred_at = "When"
product_id = "Article"
quantity = "Units"
unit_price = "Price"

[constants]
region = "EU"
currency = "EUR"
channel = "store"
category = "Helmets"
"""
# Of a file without any good row nothing is published: it may be the wrong mapping.
FILE = """Order,Customer,When,Article,Units,Price
D1,C1,{now},P1,1,19.90
D2,C2,2026-11-01 10:05,P2,two,5.00
D3,,2026-11-01 10:10,P3,1,7.00
"""


def record(offset: int, reason: str, topic: str = ORDERS, value: bytes | None = None, **more: Any) -> dict[str, Any]:
    place = {"topic": topic, "kafka_partition": 0, "kafka_offset": offset, "reason": reason, "value": value}
    return {**place, "published_at": PUBLISHED, "is_unreadable": value is not None, **more}


RECORDS = [
    record(1, "it is too short to hold the id of a schema", value=b"\0"),
    record(2, "is dated 2026-11-26T12:00:00Z, over 1 h after it was published", published_at=PUBLISHED),
    record(3, "is dated 2026-11-27T12:00:01Z, over 1 h after it was published"),
    record(9, "bytes are left after what its schema says", CLICKS, b"\1\2"),
]


@pytest.fixture(scope="module")
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def dead(dsn: str) -> Iterator[Callable[..., None]]:
    """Notes dead records as the live job does; before the first call there is no table."""

    def note(*records: dict[str, Any]) -> None:
        with psycopg.connect(dsn) as connection:
            make_postgres_tables(connection)
            for each in records:
                names, places = ", ".join(each), ", ".join(f"%({name})s" for name in each)
                connection.execute(f"insert into ops.dead_records ({names}) values ({places})".encode(), each)

    yield note
    with psycopg.connect(dsn) as connection:
        connection.execute("drop schema if exists ops cascade")


@pytest.mark.parametrize(
    ("topic", "places", "counts"),
    [
        (None, {1, 2, 3, 9}, [2, 1, 1]),
        ("sales.order_placed", {1, 2, 3}, [2, 1]),
        (ORDERS, {1, 2, 3}, [2, 1]),
        (CLICKS, {9}, [1]),
        ("sales.order_refunded", set(), []),
    ],
)
def test_dead_records_are_listed_by_topic_and_equal_reasons_add_up(
    dsn: str, dead: Callable[..., None], topic: str | None, places: set[int], counts: list[int]
) -> None:
    dead(*RECORDS)
    found = listed(dsn, topic)
    assert {each.offset for each in found.newest} == places
    assert [each.records for each in found.reasons] == counts


def test_the_newest_come_first_and_a_flood_is_counted_whole(dsn: str, dead: Callable[..., None]) -> None:
    dead(*(record(n, "no", published_at=PUBLISHED + timedelta(seconds=n)) for n in range(NEWEST + 20)))
    found = listed(dsn)
    assert [each.offset for each in found.newest] == list(range(NEWEST + 19, 19, -1))
    assert [(each.records, each.newest_at) for each in found.reasons] == [
        (NEWEST + 20, PUBLISHED + timedelta(seconds=NEWEST + 19))
    ]
    assert len(listed(dsn, most=None).newest) == NEWEST + 20


def test_before_there_are_tables_there_are_no_dead_records(dsn: str) -> None:
    assert listed(dsn).reasons == ()


def test_an_unavailable_postgres_is_reported() -> None:
    with pytest.raises(Retryable, match=r"Postgres at 127\.0\.0\.1:\d+ is unreachable"):
        listed("postgresql://nobody@127.0.0.1:1/insights")


def test_programs_get_the_bytes_of_a_record_that_can_not_be_read(dsn: str, dead: Callable[..., None]) -> None:
    dead(*RECORDS)
    rows = json.loads(json.dumps(dead_event_views.as_json([], listed(dsn, most=None).newest, {})))
    values = {row["offset"]: row["value_base64"] for row in rows}
    assert base64.b64decode(values[9]) == b"\1\2"
    assert values[2] is None
    assert {row["dead"] for row in rows} == {"record"}


@pytest.fixture
def insights(stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in stack_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "10000")
    return lambda *arguments: RUNNER.invoke(app, arguments)


def test_refused_rows_of_an_order_file_are_listed_with_line_column_value_and_reason(
    stack: Settings, insights: Callable[..., Result], stack_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "refused_orders.csv").write_text(FILE.format(now=f"{datetime.now(UTC):%Y-%m-%d %H:%M}"))
    (tmp_path / "mapping.toml").write_text(MAPPING)
    file = ["--from-file", str(tmp_path / "refused_orders.csv"), "--mapping", str(tmp_path / "mapping.toml")]
    # A process of its own: it ends this one's with its exit code.
    command = [sys.executable, "-m", "insights", "produce", "orders", *file]
    environment = {**os.environ, **stack_environment, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr

    shown = insights("dead-letters", "--topic", "sales.order_placed")
    assert shown.exit_code == 0, shown.output
    lines = {
        line.split("line ")[1][0]: line for line in shown.output.splitlines() if "refused_orders.csv, line" in line
    }
    assert set(lines) == {"3", "4"}
    assert all(" Units " in lines["3"] and text in lines["3"] for text in ("two", ORDERS))
    assert all(text in lines["4"] for text in (" Customer ", ORDERS))

    told = [
        row for row in json.loads(insights("dead-letters", "--json").stdout) if "refused_orders" in row.get("file", "")
    ]
    assert [(row["dead"], row["line"], row["column"], row["value"]) for row in told] == [
        ("letter", "3", "Units", "two"),
        ("letter", "4", "Customer", ""),
    ]
    assert all(row["exception.message"] for row in told)


def test_another_sources_letters_are_under_its_own_topic(stack: Settings, insights: Callable[..., Result]) -> None:
    publisher = Publisher(stack.kafka, Registry(stack.registry_url), client_id="test")
    publisher.dead_letter(
        event("catalog.product_observed"),
        b"<html>",
        key=b"k",
        error=ContractBroken("catalog.product_observed", "price", "is 'free', which is no price"),
        stage="VALUE_CONVERTER",
        origin={"url": "https://shop.example/free-bell"},
    )
    publisher.flush()
    shown = insights("dead-letters", "--topic", "catalog.product_observed").output
    assert "https://shop.example/free-bell" in shown
    assert "is 'free', which is no price" in shown
    assert "free-bell" not in insights("dead-letters", "--topic", "sales.order_placed").output


def test_for_a_topic_without_any_both_are_reported_as_none(insights: Callable[..., Result]) -> None:
    shown = insights("dead-letters", "--topic", "nothing.is_dead").output
    assert "There are no dead letters." in shown
    assert "There are no dead records." in shown


def test_dead_records_are_shown_by_reason_then_one_by_one_with_the_way_to_get_at_them(
    stack: Settings,
    dead: Callable[..., None],
    dsn: str,
    insights: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead(*RECORDS)
    monkeypatch.setattr(Settings, "postgres_dsn", dsn)
    shown = insights("dead-letters").output
    by_reason, one_by_one = shown.partition("dead records")[2].split("latest dead records")
    (ahead,) = [line for line in by_reason.splitlines() if "is dated …" in line]
    assert ahead.split()[0] == "2"
    assert f"unreadable: {RECORDS[3]['reason']}" in one_by_one
    assert f"not counted: {RECORDS[1]['reason']}" in one_by_one
    assert [line.split()[:5] for line in one_by_one.splitlines() if CLICKS in line] == [
        ["2026-11-23", "12:00:00", CLICKS, "0", "9"]
    ]
    assert "ops.dead_records" in shown
