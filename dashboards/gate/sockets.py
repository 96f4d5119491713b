"""How many pages may be open at once. Each costs the page's server a session with a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from schemas.errors import InsightsError

MOST_OF_A_SESSION = 20
MOST_OF_GUESTS = 100
"""Of all who came by a link."""


class TooManyPages(InsightsError):
    """No further one may be opened; its text says what to do."""


@dataclass(slots=True)
class Sockets:
    """Those that are open now."""

    _of_sessions: Counter[str] = field(default_factory=Counter)
    _of_guests: int = 0

    @contextmanager
    def open(self, session: str, *, is_guest: bool) -> Iterator[None]:
        """One more until it is left. Raises TooManyPages."""
        if self._of_sessions[session] >= MOST_OF_A_SESSION:
            raise TooManyPages(f"You have {MOST_OF_A_SESSION} pages open. Close one.")
        if is_guest and self._of_guests >= MOST_OF_GUESTS:
            raise TooManyPages("Too many people have followed a link. Try again later.")
        self._of_sessions[session] += 1
        self._of_guests += is_guest
        try:
            yield
        finally:
            self._of_guests -= is_guest
            self._of_sessions[session] -= 1
            self._of_sessions += Counter()  # without those that have none
