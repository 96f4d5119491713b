"""When an order is cancelled, and what of it is on the log: a cancellation has one time, whatever is said later."""

from __future__ import annotations

from typing import Any

from producers.connect.cancellations import news_of_cancellation
from producers.connect.orders import VOID, Cancelled, OrderState, Shop
from producers.shop.occurrences import ORDER_CANCELLED
from schemas.codec import Encoder

SHOP = Shop("bikes", b"g" * 32)


def news(known: Any, modified_ms: int, cancelled: Cancelled | None) -> tuple[list[tuple[int, int, bool]], Any]:
    """Time, version and whether it is withdrawn, of each event; and what is known after it."""
    state = OrderState("7", 500, modified_ms, "", None, VOID, frozenset(), cancelled=cancelled)
    found = news_of_cancellation(SHOP, state, known)
    records, after = [record for record, _ in found], found[-1][1] if found else known
    for record in records:
        Encoder(ORDER_CANCELLED, 1, "EUR").encode(record)
    said = [(round(r["occurred_at"].timestamp() * 1000), r["version"], bool(r["is_withdrawn"])) for r in records]
    assert len({record["event_id"] for record in records}) == len(records)
    return said, after


def test_a_cancellation_keeps_the_time_at_which_it_was_first_seen_and_is_withdrawn_when_it_is_none_any_more() -> None:
    assert news(None, 900, None) == ([], None)
    said, known = news(None, 1000, Cancelled(1000, "DE"))
    assert said == [(1000, 1000, False)]
    assert news(known, 2000, Cancelled(2000, "DE")) == ([], known)
    said, known = news(known, 3000, None)
    assert said == [(1000, 3000, True)]
    assert news(known, 3500, None) == ([], known)
    said, known = news(known, 4000, Cancelled(4000, "DE"))
    assert said == [(4000, 4000, False)]


def test_a_shop_that_says_when_is_followed() -> None:
    said, known = news(None, 1000, Cancelled(800, "DE", is_sure=True))
    assert said == [(800, 1000, False)]
    said, known = news(known, 2000, Cancelled(850, "DE", is_sure=True))
    assert said == [(800, 2000, True), (850, 2000, False)]
    said, _ = news(known, 2000, Cancelled(850, "FR", is_sure=True))
    assert said == [(850, 2001, False)]
