"""Dead letters as who holds the keys reads them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from producers.persons.keys import PersonKeys
from producers.persons.letters import Letter, opened


def unsealed(folder: Path, message: Any) -> Letter:
    """A dead letter, with the keys of a folder."""
    with closing(PersonKeys(folder)) as keys:
        letter = opened(keys, dict(message.headers())["__connect.errors.sealed"].decode(), message.value())
    assert letter is not None
    return letter
