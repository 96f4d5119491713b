"""Orders that a shop cancelled, as our events: also those that count nowhere, as at WooCommerce. Pure.

A shop that does not say when it cancelled an order says when it was last changed; what was published first stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from producers.connect.orders import OrderState, Shop
from producers.shop.identifiers import envelope
from schemas.binary import EPOCH, MILLISECOND

Record = dict[str, Any]


class KnownCancellation(NamedTuple):
    """What is on the log of an order's newest cancellation."""

    at_ms: int
    version: int
    placed_ms: int
    region: str
    is_withdrawn: bool = False


def news_of_cancellation(
    shop: Shop, state: OrderState, known: KnownCancellation | None
) -> list[tuple[Record, KnownCancellation]]:
    """The events that an order's state asks for, in order, each with what is on the log once it is there."""
    standing = known if known and not known.is_withdrawn else None
    version = max(state.modified_ms, known.version + 1) if known else state.modified_ms
    now = None
    if state.cancelled is not None:
        is_moved = standing is None or state.cancelled.is_sure
        at_ms = state.cancelled.at_ms if is_moved or standing is None else standing.at_ms
        now = KnownCancellation(at_ms, version, state.created_ms, state.cancelled.region)
        if standing is not None and standing._replace(version=version) == now:
            return []
    found = []
    if standing is not None and (now is None or now.at_ms != standing.at_ms):
        # All states of a cancellation have one time: one of another time is another.
        withdrawn = standing._replace(version=version, is_withdrawn=True)
        found.append((_event(shop, state.order_id, withdrawn), withdrawn))
    if now is not None:
        found.append((_event(shop, state.order_id, now), now))
    return found


def _event(shop: Shop, order_id: str, said: KnownCancellation) -> Record:
    what = f"cancelled:{order_id}:{said.version}:{said.is_withdrawn}"
    return {
        **envelope(shop.name, what, said.at_ms),
        "order_id": f"{shop.name}-{order_id}",
        "placed_at": EPOCH + said.placed_ms * MILLISECOND,
        "region": said.region,
        "version": said.version,
        "is_withdrawn": True if said.is_withdrawn else None,
    }
