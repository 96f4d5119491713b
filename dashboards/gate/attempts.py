"""How often a password may be tried. Pure, but for a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_SECONDS = 900.0
PER_NAME, PER_ADDRESS = 10, 30
MOST_KEYS = 10_000


@dataclass(slots=True)
class Attempts:
    """Failed ones of the last quarter of an hour, by name and by address. Memory of a process: a new one forgets."""

    clock: Callable[[], float]
    _failed: dict[tuple[str, str], deque[float]] = field(default_factory=dict)

    def wait_seconds(self, name: str, address: str) -> int:
        """How long until the next attempt is looked at; 0 when it may be now."""
        waits = [self._wait(("name", name), PER_NAME), self._wait(("address", address), PER_ADDRESS)]
        return max(waits)

    def failed(self, name: str, address: str) -> None:
        """Count one. Called before the password is checked, so that many at once count as many."""
        now = self.clock()
        for key in (("name", name), ("address", address)):
            if not self._recent(key):
                self._failed.pop(key, None)  # it comes after those that are there
            self._failed.setdefault(key, deque(maxlen=max(PER_NAME, PER_ADDRESS))).append(now)
        while len(self._failed) > MOST_KEYS:  # the oldest; names are what a stranger types
            del self._failed[next(iter(self._failed))]

    def succeeded(self, name: str, address: str) -> None:
        """Take back the one that was counted before, and forget those of the name."""
        self._failed.pop(("name", name), None)
        if times := self._failed.get(("address", address)):
            times.pop()

    def _recent(self, key: tuple[str, str]) -> deque[float]:
        times = self._failed.get(key, deque())
        while times and times[0] <= self.clock() - WINDOW_SECONDS:
            times.popleft()
        return times

    def _wait(self, key: tuple[str, str], most: int) -> int:
        times = self._recent(key)
        return 0 if len(times) < most else max(1, round(times[-most] + WINDOW_SECONDS - self.clock()))
