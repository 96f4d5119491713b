"""Dead letters, as far as their keys allow reading them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from insights.settings import Settings
from producers.persons.keys import PersonKeys
from producers.persons.letters import SEALED, opened
from reconciliation.dead_letters import DeadLetter

GONE = "erased, or older than dead letters are kept"


def readable(settings: Settings, letters: Iterable[DeadLetter], *, with_bytes: bool) -> Iterator[DeadLetter]:
    """Each letter with what was sealed in plain. Where the key is destroyed, ``value`` says so, and no bytes are left.

    Blocks as the letters do. Without ``with_bytes`` none has its bytes.
    """
    with closing(PersonKeys(settings.producers_dir)) as keys:
        for each in letters:
            headers, value = dict(each.headers), each.value
            if (sealed := headers.pop(SEALED, None)) is not None:
                letter = opened(keys, sealed, value)
                headers |= letter.headers if letter else {"value": GONE}
                value = letter.original if letter else b""
            yield replace(each, headers=headers, value=value if with_bytes else b"")


def is_gone(letter: DeadLetter) -> bool:
    """Whether a letter that ``readable`` gave can't be read any more."""
    return letter.headers.get("value") == GONE
