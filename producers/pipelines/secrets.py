"""What an error's own words may quote of a source, and nobody else may read: keys, passwords, and who bought there."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 2_000
USER: Final = re.compile(r"(?<=://)\S*@")  # also of a URL that its driver could not read
QUERY: Final = re.compile(r"\?[^\s'\")]+")
SETTING: Final = re.compile(
    r"(?i)\b([\w-]*(?:passw|pwd|secret|token|api[_-]?key|access[_-]?key|authorization)[\w-]*)\s*[=:]\s*(?:(?:bearer|basic)\s+)?\S+"
)
ADDRESS: Final = re.compile(r"[^\s@'\"<>(=,:]+@[^\s@'\">),;]+\.\w+")
PARAMETERS: Final = re.compile(
    r"(?:\[parameters: |DETAIL: ).*", re.DOTALL
)  # SQLAlchemy's and Postgres': values of rows


def without_secrets(message: str) -> str:
    """The message without users of URLs, their queries, what is assigned to a password or a key, and e-mail addresses.

    It may still quote a row: without_texts of schemas/quoted.py takes texts in quotes out too.
    """
    for pattern, instead in ((PARAMETERS, "…"), (USER, "…@"), (QUERY, "?…"), (SETTING, r"\1=…"), (ADDRESS, "…")):
        message = pattern.sub(instead, message)
    return message[:LONGEST]
