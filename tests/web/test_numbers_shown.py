import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cards import LineCard, NumberCard, TableCard
from dashboards.format import change, change_shown, compact, exact, shown
from dashboards.tiles import age_of, head, number, spark, table
from producers.order_file.check import money
from schemas.currency import DECIMALS, scale

MONEY = st.decimals(min_value=Decimal("-1e12"), max_value=Decimal("1e12"), places=2)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1234, "integer", "1,234"),
        (Decimal("1234.56"), "currency", "€1,235"),
        (Decimal("1234.56"), "currency_exact", "€1,234.56"),
        (Decimal("-5"), "currency", "\N{MINUS SIGN}€5"),
        (Decimal("12345678"), "currency", "€12.3M"),
        (Decimal("0.1234"), "percent", "12.3\N{NARROW NO-BREAK SPACE}%"),
        (None, "currency", "–"),
        ("Bell", "text", "Bell"),
        (59.94, "duration", "59.9 s"),
        (201.4, "duration", "3 min 21 s"),
        (90_000, "duration", "1 d 1 h"),
        ("0c9369a834d1f2", "hash", "0c9369a834"),
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "time", "4 Mar 2026, 05:06"),
    ],
)
def test_numbers_are_shown_as_people_read_them(value: object, kind: str, text: str) -> None:
    assert shown(value, kind, "EUR") == text


@pytest.mark.parametrize(
    ("currency", "amount", "cell", "tooltip"),
    [
        ("EUR", "1234.50", "€1,234.50", "€1,234.50"),
        ("JPY", "1234.00", "¥1,234", "¥1,234"),
        ("JPY", "1234.50", "¥1,235", "¥1,234.50"),  # an average is no amount of yen, and shown as it is
        ("KRW", "-1234.00", "\N{MINUS SIGN}KRW 1,234", "\N{MINUS SIGN}KRW 1,234"),
        ("KWD", "1234.50", "KWD 1,234.50", "KWD 1,234.50"),  # it has three, and no amount here carries more than two
    ],
)
def test_money_has_the_decimals_of_its_currency(currency: str, amount: str, cell: str, tooltip: str) -> None:
    assert shown(Decimal(amount), "currency_exact", currency) == cell
    assert exact(Decimal(amount), "currency", currency) == tooltip
    if scale(currency) == DECIMALS:
        said = re.sub("[^0-9.,-]", "", tooltip.replace("\N{MINUS SIGN}", "-"))
        assert money(int(Decimal(amount) * 100), currency) == said


def test_an_order_file_shows_thousandths_of_a_currency_that_has_them() -> None:
    assert money(1_234_500, "KWD") == "1,234.500"


@given(MONEY, st.sampled_from(["USD", "JPY"]))
def test_the_exact_text_holds_every_cent(amount: Decimal, currency: str) -> None:
    digits = re.sub("[$¥]", "", exact(amount, "currency", currency)).replace(",", "").replace("\N{MINUS SIGN}", "-")
    assert Decimal(digits) == amount


@given(MONEY)
def test_a_compact_number_is_short_and_within_one_percent(amount: Decimal) -> None:
    text = compact(amount)
    assert len(text) <= 8
    scale = {"k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}.get(text[-1], 1)
    read = Decimal(text.rstrip("kMBT").replace("\N{MINUS SIGN}", "-").replace(",", "")) * scale
    assert abs(read - amount) <= max(abs(amount) / 100, Decimal("0.5"))


def test_a_series_without_a_number_is_not_in_the_legend() -> None:
    series = [{"column": "previous", "title": "Previous period"}, {"column": "net", "title": "This period"}]
    layout = {"row": 0, "col": 0, "width": 6, "height": 4}
    card = LineCard.model_validate(
        {"kind": "line", "id": "c", "title": "C", "sql": "select 1", "layout": layout, "series": series}
    )
    rows = [{"net": 0, "previous": None}, {"net": 5, "previous": None}]
    assert "This period" in head(card, rows, None)
    assert "Previous period" not in head(card, rows, None)
    assert "Previous period" in head(card, [*rows, {"net": 0, "previous": 0}], None)


def test_growth_has_a_sign_and_nothing_grows_from_nothing() -> None:
    assert change_shown(change(Decimal(110), Decimal(100)) or Decimal(0)) == "+10.0\N{NARROW NO-BREAK SPACE}%"
    assert change_shown(change(90, 100) or Decimal(0)) == "\N{MINUS SIGN}10.0\N{NARROW NO-BREAK SPACE}%"
    assert change_shown(change(2500, 100) or Decimal(0)) == "×25"
    assert change(5, 0) is None
    assert change(5, None) is None


LAYOUT = {"row": 0, "col": 0, "width": 6, "height": 3}


def test_fewer_refunds_are_good_news() -> None:
    card = NumberCard.model_validate(
        {"id": "r", "kind": "number", "title": "R", "sql": "select 1", "layout": LAYOUT, "better": "lower"}
    )
    assert "ih-gain" in number(card, {"value": 50, "previous": 100}, (), "EUR", None)
    assert "ih-loss" in number(card, {"value": 100, "previous": 50}, (), "EUR", None)


def test_names_from_the_data_can_not_become_markup() -> None:
    columns = [{"column": "name", "title": "Name"}]
    card = TableCard.model_validate(
        {"id": "t", "kind": "table", "title": "T", "sql": "select 1", "layout": LAYOUT, "columns": columns}
    )
    html = table(card, [{"name": '<script>alert("x")</script>'}], "EUR")
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_value_may_be_a_badge_a_link_and_have_more_beneath_it() -> None:
    columns = [
        {"column": "run", "title": "Run", "sets": "run", "under": "by"},
        {"column": "status", "title": "Status", "tones": {"failed": "loss"}},
        {"column": "sha256", "title": "SHA-256", "format": "hash"},
    ]
    card = TableCard.model_validate(
        {"id": "t", "kind": "table", "title": "T", "sql": "select 1", "layout": LAYOUT, "columns": columns}
    )
    rows = [{"run": "r&1", "by": "a_<b>", "status": "failed", "sha256": "f" * 64}]
    html = table(card, rows, "EUR", lambda name, value, _: f"?{name}={value}")
    assert '<a href="?run=r&amp;1">r&amp;1</a><span class="ih-beneath">a_&lt;b&gt;</span>' in html
    assert '<span class="ih-badge ih-badge-loss">failed</span>' in html
    assert f'title="{"f" * 64}">ffffffffff</td>' in html


def test_a_name_of_nothing_can_be_read_and_clicked() -> None:
    columns = [{"column": "name", "title": "Name", "sets": "name", "key": "key"}]
    card = TableCard.model_validate(
        {"id": "t", "kind": "table", "title": "T", "sql": "select 1", "layout": LAYOUT, "columns": columns}
    )
    html = table(
        card, [{"name": "", "key": "is "}, {"name": None, "key": ""}], "EUR", lambda name, value, _: f"?{value}"
    )
    assert ">(no name)</a>" in html
    assert ">–</td>" in html


def test_long_names_and_hashes_have_places_to_break_and_stay_whole_when_they_are_copied() -> None:
    columns = [{"column": "name", "title": "Name"}]
    card = TableCard.model_validate(
        {"id": "t", "kind": "table", "title": "T", "sql": "select 1", "layout": LAYOUT, "columns": columns}
    )
    for text in ("live.customer_orders_per_day", "0123456789abcdef" * 4, "a sentence with 2.5 kg & 12,345.67"):
        (cell,) = re.findall(r'<td class="ih-text"[^>]*>(.*?)</td>', table(card, [{"name": text}], "EUR"))
        pieces = cell.split("<wbr>")
        assert unescape("".join(pieces)) == text
        assert max(len(word) for piece in pieces for word in piece.split()) < 25


def test_a_source_is_fresh_then_quiet_then_stale_and_none_before_its_first_event() -> None:
    now = datetime(2026, 3, 4, tzinfo=UTC)
    row = {"title": "Orders", "fresh_seconds": 30, "stale_seconds": 300}
    ages = [age_of({**row, "last_event_at": now - timedelta(seconds=s)}, now).level for s in (5, 60, 900)]
    assert ages == ["fresh", "quiet", "stale"]
    assert age_of({**row, "last_event_at": None}, now).level == "none"


@given(st.lists(st.floats(-1e9, 1e9), max_size=120), st.sampled_from(["line", "bars"]))
def test_any_series_has_a_sparkline(values: list[float], kind: str) -> None:
    assert spark(values, kind).startswith('<div class="ih-spark')  # type: ignore[arg-type]


def test_two_numbers_are_two_bars_and_no_slope() -> None:
    assert spark([1, 2], "line").count("rect") == spark([1, 2], "bars").count("rect") > 0
    assert "polyline" in spark([1, 2, 3], "line")
