from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregates.catalogue import ShopsClock
from insights import doctor
from insights.doctor import Finding
from insights.settings import TIME_ZONE_FILE, Settings
from insights.shops_clock import JSON
from insights.time_zone import unpaid_refunds
from schemas.catalogue import event
from schemas.versions import ByPayment
from tests.e2e.made_events import made
from tests.replay import own_lake
from tests.replay.duckdb_task import archived_rows
from warehouse.deployment import Deployment

ORDER_PLACED, ORDER_REFUNDED = event("sales.order_placed"), event("sales.order_refunded")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Apart = Callable[..., Settings]


@pytest.fixture
def settings(apart: Apart, tmp_path: Path) -> Settings:
    return apart(tmp_path / "home")


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "error"]


def test_a_machine_with_free_ports_and_room_has_no_errors(settings: Settings) -> None:
    assert errors(doctor.check(settings)) == []


def test_a_port_that_is_taken_is_named_with_its_holder_and_the_setting_to_change(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.kafka_port)):
        (error,) = errors(doctor.check(settings))
    assert f"port {settings.kafka_port} (kafka_port) is used by" in error.what
    assert f"(process {os.getpid()} of user" in error.what
    assert "INSIGHTS_KAFKA_PORT=" in error.advice


def test_each_taken_port_gets_another_one_advised(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", settings.kafka_port)),
        socket.create_server(("127.0.0.1", settings.flink_port)),
    ):
        advised = [error.advice.partition("=")[2] for error in errors(doctor.check(settings))]
    assert len(set(advised)) == 2


def test_the_port_that_is_advised_is_free(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.page_port)):
        (error,) = errors(doctor.check(settings))
        socket.create_server(("127.0.0.1", int(error.advice.partition("=")[2]))).close()


def test_two_settings_cannot_name_one_port(settings: Settings) -> None:
    same = settings.model_copy(update={"page_port": settings.shop_port})
    (error,) = errors(doctor.check(same))
    assert f"port {settings.shop_port} is set for" in error.what
    assert "page_port" in error.what
    assert "shop_port" in error.what


def test_a_connection_that_was_just_closed_does_not_hold_its_port(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.shop_port)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first, and so waits out the protocol's time
        client.close()
    assert not doctor.port_is_taken(settings.shop_port)


def test_too_little_disk_names_the_need_and_the_setting(settings: Settings) -> None:
    finding = doctor.check_disk(settings.model_copy(update={"min_disk_gb": 1e6}))
    assert finding.level == "error"
    assert "1e+06 GB are required" in finding.what
    assert "INSIGHTS_MIN_DISK_GB" in finding.advice


def test_too_little_memory_names_the_need_and_the_settings(settings: Settings) -> None:
    finding = doctor.check_memory(settings.model_copy(update={"min_memory_gb": 1e6}))
    assert finding.level == "error"
    assert "INSIGHTS_TASKMANAGER_MEMORY_MB" in finding.advice


def test_memory_that_the_stack_itself_holds_counts_as_available(settings: Settings) -> None:
    greedy = settings.model_copy(update={"min_memory_gb": doctor.available_memory() / 1e9 + 100})
    assert doctor.check_memory(greedy).level == "error"
    assert doctor.check_memory(greedy, in_use_mb=200_000).level == "ok"


def test_a_data_folder_that_cannot_be_made_is_an_error() -> None:
    finding = doctor.check_home(Path("/proc/insights"))
    assert finding.level == "error"
    assert "INSIGHTS_HOME" in finding.advice


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "error"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "error")]
)
def test_python_3_11_and_3_12_fit(version: tuple[int, int], level: str) -> None:
    assert doctor.check_python(version).level == level


def test_what_must_be_downloaded_is_shown_before(settings: Settings, tmp_path: Path) -> None:
    bare = settings.model_copy(update={"jars": tmp_path / "jars"})
    assert any("jars (" in finding.what for finding in doctor.check_downloads(bare))


def test_all_problems_are_reported_at_once(settings: Settings) -> None:
    unfit = settings.model_copy(update={"min_memory_gb": 1e6, "min_disk_gb": 1e6})
    with pytest.raises(doctor.NotFit, match="(?s)GB of disk.*GB of memory"):
        doctor.require_fit(unfit)


def test_the_ports_of_a_running_stack_are_its_own(stack: Settings) -> None:
    assert errors(doctor.check(stack)) == []


def test_by_payment_date_a_source_is_named_whose_orders_count_nowhere(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was imported after the date was chosen, without a column of when orders were paid."""
    of_file = made(ORDER_PLACED, NOON) | {"source": "wholesale", "version": 1, "paid_at": None}
    of_shop = made(ORDER_PLACED, NOON, 1) | {"source": "web", "version": 1, "paid_at": NOON}
    of_paid = {"source": "web", "order_id": of_shop["order_id"], "version": 1, "order_paid_at": None}
    paid_back = made(ORDER_REFUNDED, NOON) | of_paid
    others = [  # one says it by its newest state, one is deleted, one stands by itself, one is of no order that is paid
        (said_later := made(ORDER_REFUNDED, NOON, 1) | of_paid),
        said_later | {"event_id": "later", "version": 2, "order_paid_at": NOON},
        made(ORDER_REFUNDED, NOON, 2) | of_paid | {"is_deleted": True},
        made(ORDER_REFUNDED, NOON, 3) | of_paid | {"version": None},
        made(ORDER_REFUNDED, NOON, 4) | of_paid | {"order_id": "unknown"},
    ]
    own_lake.archive(tmp_path, ORDER_PLACED, archived_rows([of_file, of_shop]))
    own_lake.archive(tmp_path, ORDER_REFUNDED, archived_rows([paid_back, *others]))
    monkeypatch.setattr(Deployment, "lake_properties", own_lake.properties(tmp_path))
    assert warned(settings) == []
    assert unpaid_refunds(settings) == {}
    settings.home.mkdir()
    (settings.home / TIME_ZONE_FILE).write_bytes(JSON.dump_json(ShopsClock(payment=ByPayment())))
    of_refunds, what = warned(settings)
    assert "1 refund of web count" in of_refunds
    assert what == "sales are by payment date, and orders of wholesale count nowhere: none says when it was paid"
    assert unpaid_refunds(settings) == {"web": 1}
    rule = ByPayment(undated=("wholesale", "web"))
    (settings.home / TIME_ZONE_FILE).write_bytes(JSON.dump_json(ShopsClock(payment=rule)))
    assert warned(settings) == []


def test_by_payment_date_the_machine_is_checked_while_the_lake_is_away(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / TIME_ZONE_FILE).write_bytes(JSON.dump_json(ShopsClock(payment=ByPayment())))
    assert errors(doctor.check(settings)) == []


def warned(settings: Settings) -> list[str]:
    return [finding.what for finding in doctor.check(settings) if "payment date" in finding.what]
