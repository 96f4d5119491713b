"""What is kept of the time zones of shops."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from producers.connect.connections import Connections, Credentials
from producers.connect.zones import choose, note_said, zones

OPENS = Credentials(key="ck_1", secret="cs_1", webhook_secret="w")


def test_a_zone_that_was_chosen_stays_with_the_shop_and_not_with_its_name(tmp_path: Path) -> None:
    kept, since = Connections(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)

    def connect(url: str) -> str:
        kept.add(name="bikes", platform="woocommerce", url=url, since=since, credentials=OPENS)
        note_said(tmp_path, "bikes", "Europe/Berlin")
        kept.remove("bikes")
        return zones(tmp_path)["bikes"].name

    kept.add(name="bikes", platform="woocommerce", url="https://bikes.example", since=since, credentials=OPENS)
    choose(tmp_path, "bikes", "Asia/Kathmandu")
    kept.remove("bikes")
    assert connect("https://bikes.example") == "Asia/Kathmandu"
    assert connect("https://other.example") == "Europe/Berlin"
    assert connect("https://bikes.example") == "Europe/Berlin"
