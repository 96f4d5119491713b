"""What to do about a dead letter: who can bring its event, and how."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from insights.privacy.letters import is_gone
from reconciliation.dead_letters import DeadLetter

OF_ORDERS: Final = ("order", "fees", "cancellation")


class Way(StrEnum):
    """How a letter's event comes onto the log."""

    RECIPE = "recipe"
    SHOP = "shop"
    FILE = "file"
    PAGE = "page"
    GONE = "gone"


ADVICE: Final = {
    Way.RECIPE: "write a recipe, try it with `insights dead-letters redrive --fix recipe.yaml --dry-run`, and redrive",
    Way.SHOP: "correct it in the shop; `insights dead-letters redrive` then has the order read again",
    Way.FILE: "correct the row in the file, and import the file again: nothing is counted twice",
    Way.PAGE: "correct the page; the scraper publishes it once it can be read",
    Way.GONE: "nothing: it was erased with its person, or is older than dead letters are kept",
}


def way_of(letter: DeadLetter) -> Way:
    """Which of them a letter, as insights.privacy.letters gives it, is for."""
    if is_gone(letter):
        return Way.GONE
    if "shop" in letter.headers:
        return Way.SHOP
    if "file.sha256" in letter.headers:
        return Way.FILE
    if letter.error.endswith("UnreadablePage") and not letter.value.lstrip().startswith(b"{"):
        return Way.PAGE
    return Way.RECIPE


def order_of(letter: DeadLetter) -> str | None:
    """The order of a shop that a letter is about; None when it is about something else."""
    what, _, rest = letter.headers.get("what", "").partition(":")
    if what in OF_ORDERS:
        return rest or None
    return what.removeprefix("refund of ") if what.startswith("refund of ") else None


def source_of(letter: DeadLetter) -> str:
    """Where a letter comes from: a shop, a file, a site, or what its producer calls itself."""
    headers = letter.headers
    if "shop" in headers:
        return headers["shop"]
    if "file" in headers:
        return Path(headers["file"]).name
    if "url" in headers:
        return urlsplit(headers["url"]).hostname or headers["url"]
    return headers.get("source", "")
