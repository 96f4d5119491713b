"""Persons' keys, their pseudonyms, and dead letters that can be read as long as their key is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.order_file import source as order_file
from producers.persons import keys as persons
from producers.persons.keys import FILE, PersonKeys
from producers.persons.letters import MOST_BYTES, _content, opened
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.catalogue import Event
from schemas.quoted import without_texts

ANNA = "anna@example.com"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[PersonKeys]:
    made = PersonKeys(tmp_path)
    yield made
    made.close()


def bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_an_address_is_one_pseudonym_at_a_source_and_another_elsewhere(keys: PersonKeys, tmp_path: Path) -> None:
    once = keys.customer("bikes", ANNA)
    assert once == PersonKeys(tmp_path).customer("bikes", f" {ANNA.upper()}")
    assert once.startswith("bikes-customer-")
    assert once != keys.customer("boats", ANNA)
    assert ANNA.encode() not in bytes_under(tmp_path)


@pytest.mark.parametrize("number", ["17", "00017", "C00000001", "7f3c5a1e" * 4])
def test_a_shops_number_stays(keys: PersonKeys, number: str) -> None:
    assert keys.customer("bikes", number) == number


@pytest.mark.parametrize("said", [ANNA, "Anna Example", "+49 151 1234567", "015112345678", "2125551234", "anna_77"])
def test_what_may_be_a_person_does_not(keys: PersonKeys, said: str) -> None:
    assert said not in keys.customer("bikes", said)


def test_an_erased_customer_comes_back_as_somebody_new_however_often(keys: PersonKeys, tmp_path: Path) -> None:
    other_process = PersonKeys(tmp_path)
    assert other_process.called("bikes-7") == "bikes-7"
    first = keys.called("bikes-7")
    keys.erase([first], [], at_ms=1)
    second = other_process.called("bikes-7")
    assert second not in (first, PersonKeys(tmp_path / "elsewhere").called("bikes-7"))
    other_process.erase([second], [], at_ms=2)
    third = keys.called("bikes-7")
    assert keys.lives("bikes-7") == [first, second, third]
    assert len({first, second, third}) == 3
    assert (keys.erased_ms(first), keys.erased_ms(second), keys.erased_ms(third)) == (1, 2, None)
    assert keys.called("bikes-8") == "bikes-8"


def test_a_letter_whose_key_is_destroyed_is_gone_and_no_byte_of_the_key_is_left(
    keys: PersonKeys, tmp_path: Path
) -> None:
    hers = [keys.seal(_content({"value": ANNA}, ANNA.encode()), "bikes-7", at_ms=5) for _ in range(50)]
    others = keys.seal(b"{}\nother", None, at_ms=5)
    stored = [row[0] for row in keys._database.execute("select key from letter_keys where whose = 'bikes-7'")]
    assert all(key in bytes_under(tmp_path) for key in stored)
    assert keys.letters_of(["bikes-7"]) == {each.letter for each in hers}
    letter = opened(keys, *hers[0])
    assert letter is not None
    assert (letter.headers, letter.original) == ({"value": ANNA}, ANNA.encode())
    reader = PersonKeys(tmp_path)  # a source that runs keeps the file open
    reader.unseal(*others)
    keys.erase(["bikes-7"], keys.letters_of(["bikes-7"]), at_ms=9)
    assert [opened(keys, *each) for each in hers] == [None] * 50
    assert not any(key in bytes_under(tmp_path) for key in stored)
    assert reader.unseal(*others) == b"{}\nother"


def test_letters_are_gone_when_they_are_older_than_they_are_kept(keys: PersonKeys, tmp_path: Path) -> None:
    old, new = keys.seal(b"old", None, at_ms=1_000), keys.seal(b"new", None, at_ms=2_000)
    assert persons.expire(tmp_path, 2_000) == 1
    assert (keys.unseal(*old), keys.unseal(*new)) == (None, b"new")
    assert persons.expire(tmp_path / "nothing", 2_000) == 0
    assert not (tmp_path / "nothing").exists()


def test_the_keys_are_their_owners_only(keys: PersonKeys, tmp_path: Path) -> None:
    assert os.stat(tmp_path / FILE).st_mode & 0o777 == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(value=st.text(), reason=st.text(), original=st.binary())
def test_whatever_is_sealed_can_be_read_again(keys: PersonKeys, value: str, reason: str, original: bytes) -> None:
    letter = opened(keys, *keys.seal(_content({"value": value, "reason": reason}, original), None, at_ms=1))
    assert letter is not None
    assert (letter.headers, letter.original) == ({"value": value, "reason": reason}, original)


@pytest.mark.parametrize("size", [MOST_BYTES - 100, MOST_BYTES, MOST_BYTES + 1])
def test_of_bytes_that_are_too_many_the_head_is_kept_and_said_how_many_there_were(keys: PersonKeys, size: int) -> None:
    sealed = keys.seal(_content({"reason": "ü" * 9_000}, b"x" * size), None, at_ms=1)
    assert len(sealed.value) <= MOST_BYTES
    letter = opened(keys, *sealed)
    assert letter is not None
    assert letter.headers["truncated.from"] == str(size)


@given(value=st.text(), before=st.sampled_from(["field name is ", "it can't be ", "refund 7: "]))
def test_a_reason_in_plain_quotes_no_text(value: str, before: str) -> None:
    marked = f"marker{value}"
    assert "marker" not in without_texts(f"{before}{marked!r}, and should be an amount")
    assert "marker" not in without_texts(f"{before}{repr(marked)[:12]}, and should be an amount")


class Kept:
    """A publisher without a broker."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def publish(self, _event: Event, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))

    def flush(self) -> None:
        pass


def imported(folder: Path, rows: str, at: datetime) -> dict[str, str]:
    """What a file of orders published: each order's customer."""
    (folder / "orders.csv").write_text(f"Name,Email,Date,Item,Price\n{rows}")
    (folder / "mapping.toml").write_text(
        'source = "bikes"\n[columns]\norder_id = "Name"\ncustomer_id = "Email"\noccurred_at = "Date"\n'
        'product_id = "Item"\ntotal = "Price"\n[constants]\ncategory = "bikes"\nregion = "DE"\ncurrency = "EUR"\n'
        'channel = "web"\n'
    )
    kept = Kept()
    options = Options(state=folder, from_file=folder / "orders.csv", mapping=folder / "mapping.toml")
    this = Run(
        source=source("orders"),
        options=options,
        publisher=cast(Publisher, kept),
        stop=Stop(),
        log=structlog.get_logger(),
        clock=at.timestamp,
    )
    order_file.run(this)
    return {record["order_id"]: record["customer_id"] for record in kept.records}


def test_an_order_of_a_file_stays_the_erased_customers_when_it_changes_and_the_next_is_somebody_news(
    keys: PersonKeys, tmp_path: Path
) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    first = imported(tmp_path, f"1,{ANNA},2026-10-01,bike,5.00\n2,guest-2,2026-10-01,bike,5.00\n", now)
    assert first == {"1": keys.pseudonym("bikes", ANNA), "2": "guest-2"}
    keys.erase([first["1"]], [], at_ms=1)
    rows = f"1,{ANNA},2026-10-01,bike,6.00\n3,{ANNA},2026-10-02,bike,5.00\n"
    assert imported(tmp_path, rows, now + timedelta(days=1)) == {"1": first["1"], "3": keys.called(first["1"])}
    assert first["1"] != keys.called(first["1"])
    assert not any(ANNA.encode() in path.read_bytes() for path in tmp_path.glob("*.sqlite*"))
