"""What a shop's webhook says, whatever the shop's software."""

from __future__ import annotations

import base64
import hmac
from enum import Enum, auto
from typing import NamedTuple

from producers.connect.resources import Resource
from producers.persons.requests import Wish


class Kind(Enum):
    """What is done with a signed delivery."""

    ORDER = auto()  # its body is an order, which is taken
    NAMED = auto()  # it names an order, which is read from the shop
    RESOURCE = auto()  # it names a product or a customer, which is read from the shop
    PERSON = auto()  # it asks for something about persons, and nothing else
    OTHER = auto()  # of nothing that we read
    FOREIGN = auto()  # of another shop


class Wished(NamedTuple):
    """What a delivery asks about a customer of the shop, by number; ``remove`` is about the whole shop.

    ``said_by`` is the delivery's topic.
    """

    wish: Wish
    said_by: str
    number: str = ""


class Heard(NamedTuple):
    """A delivery's meaning; ``number`` is that of the order, or of the ``resource``, where it is only named.

    What is ``wished`` about persons is noted beside whatever else it means.
    """

    kind: Kind
    number: str = ""
    resource: Resource = "products"
    wished: tuple[Wished, ...] = ()


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Whether this is the base64 of the body's HMAC-SHA256 with the secret; compares in constant time."""
    expected = base64.b64encode(hmac.digest(secret.encode(), body, "sha256"))
    return hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
