"""How what we made in Metabase is known again, whatever it is called by now: by a sentence in its description. Pure.

Metabase gives cards and dashboards ids of its own choosing, and takes none from us. A copy that somebody makes has the
sentence, too, and a higher number; so of several with one key the eldest is ours.
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
