"""Any page is a product, a dead letter or left out, with a reason. None ends a round or takes for ever."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.scraping.fetching import LARGEST_PAGE_BYTES, Fetched
from producers.scraping.page import (
    LONGEST_REASON,
    MOST_DECLARATIONS,
    MOST_TAGS,
    OtherPage,
    UnreadablePage,
    parse_product,
)
from producers.scraping.profiles import PROFILES, profile_of
from schemas import catalogue
from schemas.codec import Encoder
from schemas.errors import PoisonEvent
from tests.web.test_shop_software import CLASSIC, DAWN, LUMA, NODE, OTHER, VARIATIONS, WOO, script_drawn

AT = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
URL = "https://shop.example/products/bell"
FORM = f"<form class='variations_form' data-product_variations='{json.dumps(VARIATIONS)}'>"
CHOICE = WOO.replace('<form class="cart">', FORM)
PAGES = [page.encode() for page in (WOO, DAWN, CLASSIC, LUMA, script_drawn(NODE, OTHER), CHOICE)]
PIECES = [
    *(b"<", b">", b'"', b"'", b"</script>", b"<!--", b"<![CDATA[", b"&#x0;", b"&#xD800;", b"\x00", b"\xff\xfe"),
    *(b"\xed\xa0\x80", b"<script>", b"<table>", b"<p class=price>", b"{", b"}", b"[", b"]", b":null", b"1.234,5"),
    *(b'"price":-1', b'"price":1e999', b"<div>" * 500, b"[" * 2_000, "\u202e€".encode(), b"<meta charset=utf-7>"),
    *(b"<base href='http://[bad'>", b"NaN", b"-0"),
]
ENCODER = Encoder(catalogue.event("catalog.product_observed"), 1)


def accounted(body: bytes) -> str:
    """What became of a page: exactly one of three, each of which says enough."""
    text = Fetched(url=URL, body=body, content_type="text/html").text
    refusal: Exception
    try:
        record = parse_product(text, URL, AT, profile_of(text, URL) or PROFILES[len(body) % 4])
        ENCODER.encode({**record, "event_id": "e", "source": "catalog", "previous_price": None})
    except (UnreadablePage, OtherPage) as error:
        refusal = error
    except PoisonEvent:  # too large, or beyond a decimal's digits: send() makes it a dead letter
        return "dead letter"
    else:
        assert isinstance(record["price"], Decimal)
        assert record["price"] >= 0
        return "product"
    assert str(refusal).startswith(URL)
    assert len(str(refusal)) <= LONGEST_REASON
    return "dead letter" if isinstance(refusal, UnreadablePage) and refusal.lacks else "left out"


def spoiled(page: bytes, rng: Random) -> bytes:
    body = bytearray(page)
    for _ in range(rng.randint(1, 12)):
        at, length = rng.randrange(len(body) + 1), rng.randint(0, 40)
        match rng.randrange(5):
            case 0:
                del body[at : at + length]
            case 1:
                body[at:at] = rng.choice(PIECES)
            case 2:
                body[at : at + length] = body[:length]
            case 3:
                body[at:at] = rng.randbytes(length)
            case 4:
                other = rng.choice(PAGES)
                cut = rng.randrange(len(other))
                body[at:at] = other[cut : cut + 400]
    return bytes(body)


@pytest.mark.fuzz(inputs=25_000)
@given(seed=st.integers(0, 2**32))
def test_any_spoiled_page_of_a_shop_is_accounted_for(seed: int) -> None:
    rng = Random(seed)
    assert accounted(spoiled(rng.choice(PAGES), rng)) in ("product", "dead letter", "left out")


def test_spoiled_pages_end_in_each_of_the_three_ways() -> None:
    """Else the test above would show little."""
    outcomes = {accounted(spoiled(PAGES[n % 6], Random(n))) for n in range(150)}
    outcomes.add(accounted(CLASSIC.replace('<body id="product"', '<body id="category"').encode()))
    assert outcomes == {"product", "dead letter", "left out"}


def test_a_page_that_the_parser_rejects_is_a_dead_letter_with_the_reason() -> None:
    with pytest.raises(UnreadablePage, match="no HTML that can be read: .*marked section"):
        parse_product(f"{WOO[:400]}<![C[ x", URL, AT, PROFILES[0])


SLOW = {
    "items": b"<p itemscope><p itemprop=b>",
    "divs": b"<div>",
    "tables": b"<table><tr><td>",
    "items in items": b"<p itemscope itemprop=a>",
    "entities": b"&amp;",
    "scripts": b"<script type='application/ld+json'>{}</script>",
}


@pytest.mark.parametrize(
    "piece",
    [pytest.param(piece, marks=[pytest.mark.nightly] * (name != "items"), id=name) for name, piece in SLOW.items()],
)
def test_a_page_made_to_be_slow_is_read_or_refused_in_seconds(piece: bytes) -> None:
    pieces = min(LARGEST_PAGE_BYTES // len(piece), MOST_TAGS // max(1, piece.count(b"<")))
    for body in (piece * pieces, piece * (LARGEST_PAGE_BYTES // len(piece))):
        began = time.process_time()
        assert accounted(body) == "dead letter"
        assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "page",
    [
        b"<script type='application/ld+json'>" + b"[" * 3_900_000,
        b"<script id=__NEXT_DATA__>" + b'{"a":' * 700_000,
        b"<a href='" + b"x" * 3_900_000,
        b"<a " * 50_000 + b">" * 50_000,
        b"<!--" * 900_000,
        b"<!-- -->" * MOST_DECLARATIONS,
    ],
    ids=["json-ld", "next-data", "attribute", "half tags", "half comments", "comments"],
)
def test_a_page_of_four_megabytes_in_one_tag_is_refused_in_seconds(page: bytes) -> None:
    began = time.process_time()
    assert accounted(page) == "dead letter"
    assert time.process_time() - began < 30
