"""Recognizes our dashboards and cards in Metabase, even if they were renamed: by a sentence in their description. Pure.

Metabase chooses the ids of cards and dashboards itself. A user's copy has the sentence, too, and a higher id; so of
several with the same key, the oldest is ours.
"""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

COLLECTION_NOTE = "Written by Insights Hub: `insights dashboards apply` overwrites the contents."
NOTE = re.compile(r"Written by Insights Hub \((?P<key>[^()\n]+)\)")


def tag_id(key: str) -> str:
    """A UUID for a template tag, the same each time; Metabase's schema asks for version 4."""
    return str(UUID(bytes=hashlib.sha256(key.encode()).digest()[:16], version=4))


def described(key: str, description: str) -> str:
    """The description of the card or dashboard with this key, with the sentence that it is known by."""
    return f"{description}\n\nWritten by Insights Hub ({key})".strip()


def key_of(description: object) -> str | None:
    """The key in a description, or None."""
    found = NOTE.search(description) if isinstance(description, str) else None
    return found["key"] if found else None
