"""What differs between shops' software, and which there is: a package each with these functions, and a line here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp

from producers.connect import shopify, woocommerce
from producers.connect.agreement import DayOf, Said, utc_day
from producers.connect.asking import ATTEMPTS, Api, Pause
from producers.connect.connections import Connection, Credentials
from producers.connect.hearing import Heard
from producers.connect.orders import Json, OrderState, Refund, Shop
from producers.connect.resources import Customer, Product
from schemas.errors import Misconfigured


class Platform(Protocol):
    """A package of this folder. ``SIGNATURE`` is the header of its webhooks with the base64 of their HMAC-SHA256.

    ``SAYS_AS_CHARGED``: ``said_of`` gives an order's measures in the currency that was charged, not in the shop's.
    """

    @property
    def SIGNATURE(self) -> str: ...  # noqa: D102, N802

    @property
    def SAYS_AS_CHARGED(self) -> bool: ...  # noqa: D102, N802

    def opened(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credentials: Credentials,
        *,
        attempts: int = ...,
        pause: Pause = ...,
    ) -> Api:
        """The API of the shop at this address."""

    def read_order(self, body: bytes, shop: Shop) -> OrderState:
        """An order as the API or a webhook says it. Raises BadOrder naming the field."""

    def customer_of(self, body: bytes, shop: Shop) -> str | None:
        """The customer of an order, even of one that is otherwise unreadable; None if it has none."""

    def read_refund(self, body: bytes, order_id: str, head: Json, shop: Shop) -> Refund:
        """A refund as ``Api.refunds`` gives it. Raises BadOrder naming the field."""

    def read_product(self, body: bytes, shop: Shop) -> Product:
        """A product as ``Api.changed`` and ``Api.described`` give it. Raises BadOrder naming the field."""

    def read_customer(self, body: bytes, shop: Shop) -> Customer:
        """The same of a customer."""

    def is_ping(self, body: bytes) -> bool:
        """Whether an unsigned delivery only looks whether somebody is there."""

    def hear(self, headers: Mapping[str, str], body: bytes, connection: Connection) -> Heard:
        """What a signed delivery says. Raises BadOrder when it says nothing that can be read."""

    def said_of(self, body: bytes, day_of: DayOf = utc_day, *, by_payment: bool = False) -> Said:
        """What an order of the API says by itself, for the comparison: its measures, if the shop's reports count it.

        By payment, its day is that on which it was paid, and one that is not paid has no measures.
        """


PLATFORMS: Final[Mapping[str, Platform]] = {
    "shopify": shopify,
    "woocommerce": woocommerce,
}


def api_of(
    connection: Connection,
    session: aiohttp.ClientSession,
    *,
    attempts: int = ATTEMPTS,
    pause: Pause = asyncio.sleep,
) -> Api:
    """A connected shop's API. Raises Misconfigured as ``platform_of``."""
    opened = platform_of(connection).opened
    return opened(session, connection.url, connection.credentials, attempts=attempts, pause=pause)


def platform_of(connection: Connection) -> Platform:
    """Raises Misconfigured when it was connected by another version of this program."""
    try:
        return PLATFORMS[connection.platform]
    except KeyError:
        raise Misconfigured(
            f"{connection.name} is a {connection.platform} shop, which this version does not read; connected can be"
            f" {', '.join(PLATFORMS)}"
        ) from None
