"""How what we made in Metabase is known again, whatever it is called by now. Pure.

A card has an entity id, which Metabase keeps as we give it: ours begin with a text of their own, and the rest follows
from the card's key. A copy that somebody makes gets another one, and so is theirs. Dashboards and collections can't be
given one; a sentence in their description says whose they are.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from uuid import UUID

CARD_PREFIX = "InsightsHub_"
ENTITY_ID_LENGTH = 21
COLLECTION_NOTE = "Written by Insights Hub: `insights dashboards apply` writes what is in here anew."
DASHBOARD_NOTE = re.compile(r"Written by Insights Hub \((?P<name>[a-z0-9_]+)\)")


def entity_id(key: str) -> str:
    """The entity id of the card with this key (``sales_overview/orders``), as Metabase wants it: 21 of A-Za-z0-9_-."""
    digest = urlsafe_b64encode(hashlib.sha256(key.encode()).digest()).decode()
    return (CARD_PREFIX + digest)[:ENTITY_ID_LENGTH]


def is_ours(found: object) -> bool:
    """Whether an entity id is one of ours."""
    return isinstance(found, str) and found.startswith(CARD_PREFIX)


def tag_id(key: str) -> str:
    """A UUID for a template tag, the same each time; Metabase's schema asks for version 4."""
    return str(UUID(bytes=hashlib.sha256(key.encode()).digest()[:16], version=4))


def dashboard_description(name: str, description: str) -> str:
    """The description of the dashboard of a file, with the sentence that it is known by."""
    note = f"Written by Insights Hub ({name}): `insights dashboards apply` undoes changes to it. Work on a copy."
    return f"{description}\n\n{note}" if description else note


def dashboard_name(description: object) -> str | None:
    """The file's name that a dashboard's description tells; None when it tells none."""
    found = DASHBOARD_NOTE.search(description) if isinstance(description, str) else None
    return found["name"] if found else None
