"""How far a silent topic is, where late events wait for windows that are counted of it and of others.

Such a window is final when the slowest of its topics has passed it. If one of them is silent, or never had an event,
it never is, and late events of the others wait in vain. So for these, ops.silent_topics says how far the silent topic
is to be taken to be. The job's source of that topic asks for it (flink/java, OtherTopics), and its watermark follows;
finality goes by that, as always. A topic that moves has no row: else an import of history would be judged by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from schemas.catalogue import event
from warehouse.postgres import Connection
from warehouse.sinks import NOT_RESTATED

WAITING = f"select exists (select 1 from ops.late_events as l where l.topic = any(%s) and {NOT_RESTATED})"  # noqa: S608 a constant
FOLLOW = """
insert into ops.silent_topics (topic, reached, recorded_at) values (%s, %s, now())
on conflict (topic) do update set reached = excluded.reached, recorded_at = excluded.recorded_at
"""
MOVED = "delete from ops.silent_topics where topic = any(%s)"
ASK_SECONDS = 60.0  # a shop without web events asks this for as long as it is there


class SilentTopics:
    """Keeps ops.silent_topics."""

    def __init__(self, idle_timeout_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = 2 * idle_timeout_seconds
        self._clock = clock
        self._still: dict[str, tuple[int, float]] = {}  # by event name, a watermark, and since when it is that
        self._asked = float("-inf")

    def step(self, connection: Connection, together: Collection[tuple[str, ...]], reached: Mapping[str, int]) -> None:
        """In the caller's transaction.

        ``together``: names of events that an aggregate counts together. ``reached``: by event name, the watermark that
        its topic had reached for certain, in milliseconds since the epoch.
        """
        now = self._clock()
        moved = [n for n, at in reached.items() if self._still.get(n, (at, now))[0] != at]
        self._still = {n: (at, now) if n in moved else self._still.get(n, (at, now)) for n, at in reached.items()}
        if moved:
            connection.execute(MOVED, ([event(n).topic for n in moved],))
        if now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        for names in together:
            furthest = max(reached[n] for n in names)
            behind = [n for n in names if reached[n] < furthest and now - self._still[n][1] >= self._patience]
            if behind and connection.execute(WAITING, ([event(n).topic for n in names],)).fetchone() == (True,):
                at = datetime.fromtimestamp(furthest / 1000, UTC)
                for name in behind:
                    connection.execute(FOLLOW, (event(name).topic, at))
