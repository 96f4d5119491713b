"""How much each key and each address may send: a token bucket with a rate and a burst.

In memory only, with a maximum number of buckets: the one unused for longest is dropped first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_BUCKETS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many events a second in the long run, and so many at once."""

    per_second: float
    burst: float


class Buckets:
    """A bucket for each who sends. ``clock`` gives seconds that only go forward."""

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # who sent last stands last

    def wait(self, who: str, events: int) -> float:
        """Take so many out of the bucket and return 0; when it has fewer, take none: seconds until it has enough."""
        now = self._clock()
        left, at = self._left.pop(who, (self._limit.burst, now))
        left = min(self._limit.burst, left + (now - at) * self._limit.per_second)
        missing = min(events, self._limit.burst) - left
        self._left[who] = (left if missing > 0 else left - events, now)
        if len(self._left) > MOST_BUCKETS:
            self._left.popitem(last=False)
        return max(missing, 0.0) / self._limit.per_second
