"""Values that a message quotes from a record.

They may be personal data, and are left out wherever the message is stored in plain text.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_REASON: Final = 500
FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)
# As Python writes texts. Of one that is cut off, all that follows; an apostrophe inside a word opens none.
_TEXT: Final = r"""(?:\bb|(?<!\w))(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|['"].*\Z)"""
TEXTS: Final = re.compile(_TEXT, re.DOTALL)
VALUES: Final = re.compile(rf"{_TEXT}|(?<!\w)[-+]?\d[\d.,:TZ+-]*", re.DOTALL)


def without_texts(message: str) -> str:
    """The message with an ellipsis for each text that it quotes. Numbers stay."""
    return TEXTS.sub("…", message)[:LONGEST_REASON]


def without_values(message: str) -> str:
    """The message with an ellipsis for each text and each number: equal reasons add up."""
    return VALUES.sub("…", message)[:LONGEST_REASON]


def named(key: object) -> str:
    """A key of a record as a message names it: as it is if it looks like a field's, else quoted, as a value is."""
    name = str(key)
    return name if FIELD.fullmatch(name) else repr(name)
