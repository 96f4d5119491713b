"""Which feeds are read, and by which names: an address may hold a key, so it is in no event and in no log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import Misconfigured
from schemas.quoted import without_texts

BEHIND_HOST: Final = re.compile(r"(https?://[^/?#\s]+)[/?#]\S*")
NAMED: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,60})=(?P<url>https?://.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed's name, which is part of its vehicles' ids, and its address."""

    name: str
    url: str

    def __repr__(self) -> str:
        return f"Feed({self.name})"

    def without_address(self, text: str) -> str:
        """The text with the feed's name for its address, and the host only of others, such as where it leads to."""
        return BEHIND_HOST.sub(r"\1/…", without_texts(text.replace(self.url, self.name)))


def feeds(given: Sequence[str]) -> list[Feed]:
    """The feeds of ``--feed URL`` and ``--feed NAME=URL``. Raises Misconfigured."""
    if not given:
        raise Misconfigured(
            "give the feed to read: --feed NAME=URL, or several; docs/sources.md says where to find some"
        )
    found = [_feed(text) for text in given]
    names = [feed.name for feed in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Misconfigured(f"two feeds are called {twice[0]}: name them apart with --feed NAME=URL")
    return found


def _feed(text: str) -> Feed:
    named = NAMED.fullmatch(text)
    name, url = (named["name"], named["url"]) if named else ("", text)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.username is not None:
        shown = url.partition("?")[0].rpartition("@")[2][:100]
        raise Misconfigured(
            f"--feed {shown!r} is no address of a feed: write https://host/path, or NAME=https://host/path, without a"
            " password in it"
        )
    return Feed(name or f"{host}{parts.path}".rstrip("/"), url)
