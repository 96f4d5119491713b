"""The European Central Bank's rates: each once on the log, and which of them an order is converted by, to the unit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from producers.order_file.rows import Line
from producers.publisher import Publisher
from producers.rates import book, ecb
from producers.rates.book import Known
from producers.rates.ecb import BadRates, Rate
from producers.rates.exchange import Charge, Exchange, NoRate, cross
from producers.rates.source import Rates
from producers.runner import Options, Run, Stop
from producers.scraping import addresses
from producers.scraping.fetching import HttpFetch, Pace
from producers.sources import source
from schemas.catalogue import Event
from schemas.codec import Encoder
from schemas.currency import scale
from tests.shops.central_bank import CentralBank, xml

FRIDAY = date(2026, 11, 27)
RATES = {FRIDAY: {"USD": Decimal("1.0575"), "KRW": Decimal("1632.95")}}
DAY = timedelta(days=1)


@dataclass
class Kept:
    """A publisher without a broker, which refuses what the contract refuses."""

    records: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, event: Event, record: Mapping[str, Any]) -> None:
        Encoder(event, 1, "EUR").encode(record)
        self.records.append(dict(record))

    def flush(self) -> None:
        pass


def at(day: date, hour: int = 17) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def following(bank: CentralBank, folder: Path, kept: Kept, times: list[datetime]) -> None:
    """The source looks at each of these times."""

    async def run() -> None:
        async with addresses.session(addresses.public_or_private) as session:
            this = Run(
                source=source("rates"),
                options=Options(state=folder, url=bank.url),
                publisher=cast(Publisher, kept),
                stop=Stop(),
                log=structlog.get_logger(),
                clock=lambda: bank.now.timestamp(),
            )
            rates = Rates(this, HttpFetch(session, Pace(0.0, asyncio.get_running_loop().time)))
            for now in times:
                bank.now = now
                await rates.look()

    asyncio.run(run())


def said(kept: Kept) -> dict[tuple[date, str], Decimal]:
    return {(record["day"], record["currency"]): record["rate"] for record in kept.records}


def test_a_file_is_read_as_the_bank_writes_it() -> None:
    assert ecb.read(xml(RATES)) == [Rate(FRIDAY, "KRW", Decimal("1632.95")), Rate(FRIDAY, "USD", Decimal("1.0575"))]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("2026-11-27", "yesterday", "a day is 'yesterday'"),
        ("1.0575", "N/A", "the rate of USD on 2026-11-27 is 'N/A'"),
        ("1.0575", "-1", "should be a number above zero"),
        ("1.0575", "0", "should be a number above zero"),
        ("1.0575", "1e20", "should be a number above zero"),
        ("1.0575", "NaN", "should be a number above zero"),
        ("USD", "dollar", "a currency of 2026-11-27 is 'dollar'"),
        ('"KRW"', '"USD"', "USD of 2026-11-27 has two rates"),
        ("</gesmes:Envelope>", "", "not XML, or was cut"),
        ("eurofxref", "else", "it has no rates"),
        ("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', "not XML"),
    ],
)
def test_a_file_that_is_wrong_in_one_place_counts_nowhere(old: str, new: str, reason: str) -> None:
    with pytest.raises(BadRates, match=reason):
        ecb.read(xml(RATES).replace(old.encode(), new.encode(), 1))


@pytest.mark.fuzz
@given(cut=st.integers(0, 600), byte=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_has_rates(cut: int, byte: int) -> None:
    whole = xml(RATES)
    with suppress(BadRates):
        ecb.read(whole[:cut] + bytes([byte]) + whole[cut + 1 :])
    with pytest.raises(BadRates):
        ecb.read(whole[: min(cut, len(whole) - 1)])


def test_nobody_is_asked_before_rates_are_wanted_and_then_once_a_working_day(tmp_path: Path) -> None:
    kept = Kept()
    with CentralBank(date(2026, 6, 1), date(2026, 12, 4)).serving() as bank:
        minutes = [at(FRIDAY, 9) + n * timedelta(minutes=10) for n in range(6 * 24 * 7)]
        following(bank, tmp_path, kept, minutes[:3])
        assert bank.asked == []
        book.want(tmp_path, date(2026, 11, 2))
        following(bank, tmp_path, kept, minutes)
        files = [file for file, _ in bank.asked]
        assert files == ["eurofxref-hist-90d.xml", *["eurofxref-daily.xml"] * 5]
        book.want(tmp_path, date(2026, 6, 10))  # an order of long ago
        following(bank, tmp_path, kept, minutes[-1:] * 3)
        assert [file for file, _ in bank.asked[6:]] == ["eurofxref-hist.xml"]
    wanted = {(d, c): r for d, rates in bank.rates.items() for c, r in rates.items() if date(2026, 6, 10) <= d}
    assert said(kept) == {key: rate for key, rate in wanted.items() if key[0] < date(2026, 12, 4)}
    assert len(kept.records) == len({record["event_id"] for record in kept.records})
    assert kept.records[0]["occurred_at"] == datetime(2026, 11, 2, 15, tzinfo=UTC)


def test_a_bank_that_is_away_or_answers_with_something_else_is_asked_again_and_nothing_is_missed(
    tmp_path: Path,
) -> None:
    kept = Kept()
    book.want(tmp_path, date(2026, 11, 9))
    with CentralBank(date(2026, 9, 1), FRIDAY).serving() as bank:
        bank.faults = ["500", "cut", "page", "empty", "429"]
        following(bank, tmp_path, kept, [at(FRIDAY) + n * timedelta(minutes=1) for n in range(60)])
    assert len(bank.asked) == 6  # after 1, 2, 4, 8 and 16 minutes
    expected = {(d, c): r for d, rates in bank.rates.items() for c, r in rates.items() if d >= date(2026, 11, 9)}
    assert said(kept) == expected
    assert book.known(tmp_path) == Known(date(2026, 11, 9), FRIDAY + 2 * DAY)


def test_a_holiday_is_known_to_have_no_rates_when_it_is_over(tmp_path: Path) -> None:
    good_friday, easter_monday = date(2026, 4, 3), date(2026, 4, 6)
    book.want(tmp_path, date(2026, 3, 30))
    with CentralBank(date(2026, 1, 1), date(2026, 4, 8), holidays=(good_friday, easter_monday)).serving() as bank:
        following(bank, tmp_path, Kept(), [at(good_friday) + n * timedelta(minutes=30) for n in range(48 * 4)])
        assert {file for file, _ in bank.asked[1:]} == {"eurofxref-daily.xml"}
        assert 304 in {status for _, status in bank.asked}
        assert len(bank.asked) < 40
    tuesday = Exchange(tmp_path, "EUR").charge("USD", date(2026, 4, 7))
    assert tuesday is not None
    assert tuesday.on == date(2026, 4, 2)


def test_an_old_file_is_not_taken_for_days_without_rates(tmp_path: Path) -> None:
    book.want(tmp_path, date(2026, 11, 9))
    with CentralBank(date(2026, 9, 1), date(2026, 11, 20)).serving() as bank:
        following(bank, tmp_path, Kept(), [at(FRIDAY)])
    assert book.known(tmp_path) is None


def test_rates_that_were_published_before_a_kill_are_published_again_under_the_same_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Kept(), Kept()
    book.want(tmp_path, date(2026, 11, 9))
    with CentralBank(date(2026, 9, 1), FRIDAY).serving() as bank:
        with monkeypatch.context() as killed:
            killed.setattr(book, "add", lambda *_: None)
            following(bank, tmp_path, first, [at(FRIDAY)])
        following(bank, tmp_path, second, [at(FRIDAY) + DAY])
    assert first.records == second.records != []


def known_rates(folder: Path, since: date, until: date) -> dict[date, dict[str, Decimal]]:
    """Rates in the book, without a bank."""
    rates = CentralBank(since, until).rates
    every = [Rate(day, code, rate) for day, codes in rates.items() for code, rate in codes.items()]
    book.add(folder, every, Known(since, until))
    return rates


@pytest.mark.parametrize(
    ("day", "on"),
    [
        (date(2026, 11, 27), date(2026, 11, 26)),  # the rates of a day come when most of its orders are placed
        (date(2026, 11, 28), date(2026, 11, 27)),
        (date(2026, 11, 29), date(2026, 11, 27)),
        (date(2026, 11, 30), date(2026, 11, 27)),
    ],
)
def test_an_order_is_converted_by_the_last_rate_before_its_day(day: date, on: date, tmp_path: Path) -> None:
    rates = known_rates(tmp_path, date(2026, 11, 2), date(2026, 11, 29))
    charge = Exchange(tmp_path, "EUR").charge("USD", day)
    assert charge == Charge("USD", "EUR", rates[on]["USD"], "ecb", on)
    between = Exchange(tmp_path, "GBP").charge("JPY", day)
    assert between is not None
    assert abs(Fraction(between.rate) - Fraction(rates[on]["JPY"]) / Fraction(rates[on]["GBP"])) <= Fraction(
        1, 2 * 10**12
    )
    assert Exchange(tmp_path, "EUR").charge("EUR", day) is None


def test_a_rate_that_is_not_known_yet_is_asked_for_and_one_that_there_is_not_is_refused(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, "EUR")
    with pytest.raises(NoRate, match="rates before 2026-11-27 are not known yet") as missing:
        exchange.charge("USD", FRIDAY)
    assert (missing.value.awaited, book.wanted(tmp_path)) == (FRIDAY, FRIDAY - 7 * DAY)
    with pytest.raises(NoRate):
        Exchange(tmp_path, "EUR", asks=False).charge("USD", FRIDAY - 90 * DAY)
    assert book.wanted(tmp_path) == FRIDAY - 7 * DAY
    known_rates(tmp_path, FRIDAY - 20 * DAY, FRIDAY - DAY)
    assert exchange.charge("USD", FRIDAY) is not None
    with pytest.raises(NoRate, match="published no rate between them") as never:
        exchange.charge("BHD", FRIDAY)
    assert never.value.awaited is None
    with pytest.raises(NoRate, match="known for 2026-11-07 to 2026-11-26") as later:
        exchange.charge("USD", FRIDAY + DAY)
    assert later.value.awaited == FRIDAY + DAY


CODES = st.sampled_from(["EUR", "USD", "JPY", "KRW", "KWD", "BHD", "IDR"])
RATE = st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-4))
LINES = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 10**7), st.integers(0, 100)), min_size=1, max_size=6)


@given(currency=CODES, own=st.sampled_from(["EUR", "JPY", "SEK"]), rate=RATE, drawn=LINES, beside=st.integers(0, 10**6))
def test_a_converted_order_adds_up_to_its_converted_total_to_the_smallest_unit(
    currency: str, own: str, rate: Decimal, drawn: list[tuple[int, int, int]], beside: int
) -> None:
    charge = Charge(currency, own, rate, "ecb", FRIDAY)
    lines = [Line("P", "c", None, units, total, total * part // 100, 0, 0) for units, total, part in drawn]
    shipping, tax = beside, beside // 7
    found, (shipped, taxed) = charge.lines(lines, (shipping, tax))
    charged = sum(line.total - line.discount for line in lines) + shipping + tax
    unit = 100 if own == "JPY" else 1
    exact = Fraction(charged, 10 ** scale(currency)) / Fraction(rate) * 100
    total = sum(line.total - line.discount for line in found) + shipped + taxed
    assert total == charge.cents(charged) == unit * round(exact / unit)
    assert all(line.total >= line.discount >= 0 for line in found)
    assert min(shipped, taxed) >= 0
    assert all(amount % unit == 0 for line in found for amount in (line.total, line.discount))
    for before, after in zip(
        [*(line.total - line.discount for line in lines), shipping, tax],
        [*(line.total - line.discount for line in found), shipped, taxed],
        strict=True,
    ):
        assert abs(after - Fraction(before, 10 ** scale(currency)) / Fraction(rate) * 100) < 2 * unit


@given(currency=RATE, own=RATE)
def test_a_rate_between_two_currencies_is_exact_to_the_contracts_decimals(currency: Decimal, own: Decimal) -> None:
    found = cross(currency, own)
    assert abs(Fraction(found) - Fraction(currency) / Fraction(own)) <= Fraction(1, 2 * 10**12)
    assert found == round(found, 12)
