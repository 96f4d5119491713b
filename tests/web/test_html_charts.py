"""Heat maps, funnels, treemaps, what stands behind a card, and its CSV."""

import csv
import io
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboards.cards import FunnelCard, HeatmapCard, TreemapCard
from dashboards.export import csv_of, file_name
from dashboards.html_charts import funnel, heatmap, squarified, treemap
from dashboards.provenance import Age, Provenance, oldest
from dashboards.tiles import behind

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LAYOUT = {"row": 0, "col": 0, "width": 12, "height": 8}
CARD = {"id": "c", "title": "C", "sql": "select 1", "layout": LAYOUT}


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30), st.floats(0.3, 4))
@example([835206.0, 0.0625], 0.3)
def test_a_treemap_fills_its_place_with_boxes_as_large_as_their_values(values: list[float], aspect: float) -> None:
    values = sorted(values, reverse=True)
    boxes = squarified(values, aspect)
    for value, box in zip(values, boxes, strict=True):
        assert box.width * box.height == pytest.approx(value / sum(values), rel=1e-6)
        assert min(box.x, box.y) >= -1e-9
        assert max(box.x + box.width, box.y + box.height) <= 1 + 1e-9
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert min(across, down) <= 1e-9


def test_boxes_of_a_treemap_are_near_squares() -> None:
    # The example of Bruls, Huizing and van Wijk: areas 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4.
    boxes = squarified([6, 6, 4, 3, 2, 2, 1], 1.5)
    ratios = [max(b.width * 1.5 / b.height, b.height / (b.width * 1.5)) for b in boxes]
    assert max(ratios) < 2.8
    assert (boxes[0].width * 6, boxes[0].height * 4) == pytest.approx((3, 2))


def test_a_heat_map_keeps_the_order_of_its_rows_and_columns_and_leaves_gaps() -> None:
    card = HeatmapCard.model_validate(CARD | {"kind": "heatmap", "row_title": "<Row>"})
    rows = [
        {"row": "b", "column": "2", "value": Decimal(10)},
        {"row": "b", "column": "10", "value": Decimal(5)},
        {"row": "a", "column": "2", "value": None},
        {"row": "a", "column": "10", "value": Decimal(0)},
        {"row": "&", "column": "10", "value": Decimal(-3)},
    ]
    html = heatmap(card, rows, "EUR", 400)
    assert html.index('scope="row">b') < html.index('scope="row">a') < html.index('scope="row">&amp;')
    assert html.index('scope="col">2') < html.index('scope="col">10')
    shares = [part.split('"')[0] for part in html.split("--share:")[1:]]
    assert shares == ["1.000", "0.500", "0.000", "0.000"]
    assert html.count("<td></td>") == 2
    assert "&lt;Row&gt;" in html


def test_a_funnel_shows_what_each_step_keeps() -> None:
    card = FunnelCard.model_validate(CARD | {"kind": "funnel"})
    html = funnel(card, [{"step": s, "value": v} for s, v in (("Visited", 200), ("Bought", 50), ("Again", 0))], "EUR")
    assert "25.0\u202f% of the previous step" in html
    assert [part.split("%")[0] for part in html.split("width:")[1:]] == ["100.00", "25.00", "0.40"]
    assert "of the previous step" in funnel(card, [{"step": "a", "value": 3}, {"step": "b", "value": 3}], "EUR")


def test_a_treemap_shows_no_box_for_nothing_and_escapes_names() -> None:
    card = TreemapCard.model_validate(CARD | {"kind": "treemap", "tones": {"<b>": "loss"}})
    html = treemap(card, [{"label": "<b>", "value": 3}, {"label": "none", "value": 0}], "EUR", 1.5)
    assert "ih-box-loss" in html
    assert "<b>&lt;b&gt;</b>" in html
    assert "none" not in html


def test_a_csv_has_every_digit_and_quotes_what_must_be() -> None:
    rows = [
        {
            "text": 'a "b", c\nd',
            "money": Decimal("1234567.80"),
            "tiny": Decimal("1E-7"),
            "at": datetime(2026, 3, 4, 13, tzinfo=timezone(timedelta(hours=1))),
            "day": date(2026, 3, 4),
            "none": None,
            "yes": True,
        }
    ]
    content = csv_of(rows)
    assert content.startswith(b"\xef\xbb\xbf")
    (read,) = csv.DictReader(content.decode("utf-8-sig").splitlines(keepends=True))
    assert read == {
        "text": 'a "b", c\nd',
        "money": "1234567.80",
        "tiny": "0.0000001",
        "at": "2026-03-04T12:00:00Z",
        "day": "2026-03-04",
        "none": "",
        "yes": "true",
    }


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_text_that_a_spreadsheet_would_run_is_a_text(text: str) -> None:
    header, row = csv.reader(io.StringIO(csv_of([{text: text}]).decode("utf-8-sig"), newline=""))
    assert header == row == [f"'{text}"]


def test_a_negative_number_stays_a_number() -> None:
    assert csv_of([{"a": Decimal("-1.50"), "b": -2}]) == b"\xef\xbb\xbfa,b\r\n-1.50,-2\r\n"


def test_a_file_is_named_after_what_is_in_it() -> None:
    named = file_name("customers", "segments", ["EU", "Wheels & Tyres", "", "日本"], NOW)
    assert named == "customers_segments_eu_wheels-tyres_20260304-1200.csv"


def provenance(**changes: Any) -> Provenance:
    version = {
        "aggregate": "order_lines",
        "version": 2,
        "since": NOW,
        "run": "r7",
        "scope": "late",
        "verified_at": NOW,
        "mismatches": 0,
    }
    sessions = version | {"aggregate": "sessions", "run": None, "scope": None, "verified_at": None, "mismatches": None}
    model = {
        "relation": "marts.daily_sales",
        "built_at": NOW - timedelta(minutes=3),
        "status": "ok",
        "upstream": ["events.order_lines", "live.sessions", "ops.finality"],
    }
    return Provenance([version | changes, sessions], [model])


def test_behind_a_mart_stand_its_build_and_the_versions_and_certificates_of_what_it_is_made_from() -> None:
    found = provenance().behind(["marts.daily_sales", "ops.versions"])
    assert [(m.relation, m.status) for m in found.marts] == [("marts.daily_sales", "ok")]
    assert [(s.relation, s.version, s.run) for s in found.sources] == [
        ("events.order_lines", 2, "r7"),
        ("live.sessions", 2, None),
    ]
    assert found.others == ("ops.versions",)
    html = behind(found, found.ages(NOW), lambda run: f"?run={run}")
    assert "marts.daily_sales: built 3 min ago" in html
    assert '<a href="?run=r7">Certificate of r7</a>, late events' in html
    assert "No certificate for this version yet" in html


def test_a_certificate_with_differences_shows_how_many() -> None:
    html = behind(provenance(mismatches=1234).behind(["events.order_lines"]), [], lambda run: run)
    assert "1,234 rows differ" in html


def test_a_mart_that_no_build_recorded_is_shown_as_such() -> None:
    found = provenance().behind(["marts.rfm"])
    (age,) = found.ages(NOW)
    assert (age.level, age.title) == ("none", "marts.rfm: not built by dbt yet")
    assert "Not built by dbt yet" in behind(found, [], lambda run: run)


def test_a_mart_is_fresh_for_three_builds_and_stale_after_a_day() -> None:
    (built,) = provenance().behind(["marts.daily_sales"]).ages(NOW)
    (later,) = provenance().behind(["marts.daily_sales"]).ages(NOW + timedelta(hours=1))
    (much_later,) = provenance().behind(["marts.daily_sales"]).ages(NOW + timedelta(days=2))
    assert [age.level for age in (built, later, much_later)] == ["fresh", "quiet", "stale"]
    assert oldest([built, much_later, later]) == much_later
    assert oldest([Age(seconds=None, level="none", title="x"), later]) == Age(seconds=None, level="none", title="x")
    assert oldest([]) is None
