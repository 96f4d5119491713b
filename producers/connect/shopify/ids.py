"""An id as Shopify's API writes it."""

from __future__ import annotations

import re
from typing import Final

from producers.connect.orders import BadOrder, Json, shown

GID: Final = re.compile(r"gid://shopify/\w+/(\d{1,19})")


def number_of(source: Json, where: str, name: str = "") -> str:
    """The number in a global id, a text: ``gid://shopify/Order/7``. Raises BadOrder."""
    found = source.get(name or where)
    match = GID.fullmatch(found) if isinstance(found, str) else None
    if match is None:
        raise BadOrder(f"{where} is {shown(found)}, and should be an id such as gid://shopify/Order/7")
    return match[1]
