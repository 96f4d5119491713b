"""Tables of costs, ad spend and payment fees: what is stated of each row, and what becomes of those that can't be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from producers import finance
from producers.persons.keys import PersonKeys
from producers.persons.letters import SEALED, opened
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.catalogue import Event
from schemas.codec import Encoder
from schemas.errors import InsightsError, Misconfigured, RowsRefused

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


@dataclass
class Kept:
    """What a run published: a publisher without a broker, which refuses what the contract refuses."""

    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    letters: list[tuple[str, bytes]] = field(default_factory=list)
    origins: list[Mapping[str, str]] = field(default_factory=list)

    def publish(self, event: Event, record: Mapping[str, Any]) -> None:
        Encoder(event, 1, "EUR").encode(record)
        self.records.append((event.name, dict(record)))

    def dead_letter(self, _event: Event, value: bytes, *, origin: Mapping[str, str], **_known: object) -> None:
        self.letters.append((origin[SEALED], value))
        self.origins.append(origin)

    def flush(self) -> None:
        pass


def read(folder: Path, text: str, now: datetime = NOW) -> tuple[Kept, InsightsError | None]:
    """What reading a file with this text published, and the verdict."""
    (folder / "file.csv").write_text(text)
    kept = Kept()
    this = Run(
        source=source("finance"),
        options=Options(state=folder, from_file=folder / "file.csv"),
        publisher=cast(Publisher, kept),
        stop=Stop(),
        log=structlog.get_logger(),
        clock=now.timestamp,
    )
    finance.run(this)
    return kept, this.verdict


def test_a_cost_is_stated_now_and_holds_from_its_own_time(tmp_path: Path) -> None:
    kept, verdict = read(tmp_path, "Product_ID;unit_cost;valid_from\nP-1;12,50\nP-1;12.50;2026-01-01\n")
    assert isinstance(verdict, RowsRefused)
    ((name, record),) = kept.records
    assert name == "finance.cost_stated"
    assert (record["occurred_at"], record["valid_from"]) == (NOW, datetime(2026, 1, 1, tzinfo=UTC))
    assert (record["product_id"], record["unit_cost"], record["currency"]) == ("P-1", Decimal("12.50"), "EUR")


def test_what_is_known_is_not_stated_again_and_what_changed_is(tmp_path: Path) -> None:
    text = "product_id,unit_cost,valid_from\nP-1,12.50,2026-01-01\nP-2,3.00,2026-01-01\n"
    first, _ = read(tmp_path, text)
    again, _ = read(tmp_path, text)
    assert (len(first.records), again.records) == (2, [])
    later = datetime(2026, 3, 6, tzinfo=UTC)
    changed, _ = read(tmp_path, text.replace("3.00", "3.10"), later)
    ((_, record),) = changed.records
    assert (record["product_id"], record["unit_cost"], record["occurred_at"]) == ("P-2", Decimal("3.10"), later)
    back, _ = read(tmp_path, text, datetime(2026, 3, 7, tzinfo=UTC))
    assert [record["unit_cost"] for _, record in back.records] == [Decimal("3.00")]
    ids = [record["event_id"] for kept in (first, changed, back) for _, record in kept.records]
    assert len(set(ids)) == 4


def test_ad_spend_is_of_a_day_and_what_nobody_says_is_null(tmp_path: Path) -> None:
    kept, verdict = read(tmp_path, "day,campaign,amount,clicks\n2026-03-01,spring,80.00,120\n2026-03-02,spring,7,\n")
    assert verdict is None
    records = [record for _, record in kept.records]
    assert [(r["day"], r["amount"], r["clicks"], r["impressions"]) for r in records] == [
        (date(2026, 3, 1), Decimal("80.00"), 120, None),
        (date(2026, 3, 2), Decimal("7.00"), None, None),
    ]


def test_a_fee_has_the_time_of_its_charge_and_a_correction_a_higher_version(tmp_path: Path) -> None:
    text = "order_id,amount,charged_at,provider\nO-1,1.10,2026-03-01 10:00,stripe\n"
    first, _ = read(tmp_path, text)
    second, _ = read(tmp_path, text.replace("1.10", "0.90"), datetime(2026, 3, 6, tzinfo=UTC))
    ((name, charged),), ((_, corrected),) = first.records, second.records
    assert name == "finance.fee_charged"
    assert charged["occurred_at"] == corrected["occurred_at"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert charged["fee_id"] == corrected["fee_id"] == "O-1"
    assert charged["version"] < corrected["version"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("P-1,,2026-01-01", "unit_cost is blank"),
        ("P-1,1.234,2026-01-01", "unit_cost is '1.234', which could be 1.234 or 1234"),
        ("P-1,-1.00,2026-01-01", "unit_cost"),
        ("P-1,1.00,yesterday", "valid_from is 'yesterday', which is not a date"),
        (",1.00,2026-01-01", "product_id is blank"),
        ("P-1,1.00,2026-01-01,USD", "USD"),
        ("P-0,9.00,2026-01-01", "product_id, valid_from are those of line 2"),
    ],
)
def test_a_row_that_states_nothing_is_a_dead_letter_once_and_the_others_count(
    tmp_path: Path, row: str, reason: str
) -> None:
    text = f"product_id,unit_cost,valid_from,currency\nP-0,1.00,2026-01-01,\n{row}\n"
    kept, verdict = read(tmp_path, text)
    assert isinstance(verdict, RowsRefused)
    assert "1 row of file.csv refused, 1 published now. line 3: " in str(verdict)
    ((sealed, value),) = kept.letters
    with closing(PersonKeys(tmp_path)) as keys:
        letter = opened(keys, sealed, value)
    assert letter is not None
    assert letter.original == row.encode()
    assert [origin["source"] for origin in kept.origins] == ["finance"]  # of which its event is once redriven
    assert reason in letter.headers["exception.message"]
    assert [record["product_id"] for _, record in kept.records] == ["P-0"]
    again, verdict = read(tmp_path, text)
    assert (again.records, again.letters) == ([], [])
    assert isinstance(verdict, RowsRefused)


def test_a_file_of_other_columns_is_refused_with_those_that_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"has the columns sku, price: rename them.* product_id, unit_cost"):
        read(tmp_path, "sku,price\nP-1,2.00\n")


@given(text=st.text(max_size=200))
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    kept, _ = read(tmp_path_factory.mktemp("any"), f"product_id,unit_cost,valid_from\n{text}\nP-1,1.00,2026-01-01\n")
    assert kept.records or kept.letters
