"""Dead letters that may name somebody: sealed before they are published, and unsealed for who holds the keys.

A letter's header ``sealed`` has its id, by which ``keys.sqlite`` finds the key. In plain are the topic, the kind of
error, where it stood and the reason without the texts that it quotes; sealed are the bytes as they came, the whole
reason, and whatever else the source says with ``quoting``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from producers.persons.keys import PersonKeys
from producers.publisher import LONGEST_HEADER, Publisher
from schemas.catalogue import Event, event
from schemas.quoted import without_texts

SEALED: Final = "sealed"
REASON: Final = "exception.message"
MOST_BYTES: Final = event("ops.dead_letter").max_bytes
SPARE_BYTES: Final = 64  # for the seal, and for a header that says how long the bytes were


class Letter(NamedTuple):
    """An unsealed letter: the headers that were sealed with it, and its bytes as they came."""

    headers: dict[str, str]
    original: bytes


class Letters:
    """Sends sealed dead letters. Of the thread that made ``keys`` only; ``clock`` gives seconds since 1970."""

    def __init__(self, publisher: Publisher, keys: PersonKeys, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._keys = keys
        self._clock = clock

    def send(
        self,
        meant_for: Event,
        original: bytes,
        *,
        error: Exception,
        origin: Mapping[str, str],
        quoting: Mapping[str, str] | None = None,
        whose: str | None = None,
    ) -> None:
        """Seal a letter and queue it. ``origin`` is in plain, ``quoting`` is not; ``whose`` is a pseudonym, if known.

        Raises as Publisher.dead_letter does.
        """
        content = _content({**(quoting or {}), REASON: str(error)}, original)
        sealed = self._keys.seal(content, whose, int(self._clock() * 1000))
        self._publisher.dead_letter(
            meant_for,
            sealed.value,
            key=None,
            error=error,
            stage="VALUE_CONVERTER",
            origin={**origin, SEALED: sealed.letter},
            message=without_texts(str(error)),
        )


def _content(said: Mapping[str, str], original: bytes) -> bytes:
    """What is sealed: a line of JSON, then the bytes, as many as one letter holds."""
    texts = {name: text[:LONGEST_HEADER] for name, text in said.items()}
    room = MOST_BYTES - SPARE_BYTES - len(json.dumps(texts))
    if len(original) > room:
        texts["truncated.from"] = str(len(original))
    return json.dumps(texts).encode() + b"\n" + original[:room]


def opened(keys: PersonKeys, letter: str, value: bytes) -> Letter | None:
    """What a sealed letter says; None once its key is destroyed."""
    content = keys.unseal(letter, value)
    if content is None:
        return None
    headers, _, original = content.partition(b"\n")
    return Letter(json.loads(headers), original)
