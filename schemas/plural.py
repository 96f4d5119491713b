"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """``1 order``, ``2 orders``, ``0 orders``, ``12,345 orders``. ``many`` where an s does not make it: ``entries``."""
    return f"{number:,} {one if abs(number) == 1 else many or one + 's'}"
