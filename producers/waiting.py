"""How a source that runs in an event loop waits: no longer than until it is to stop."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from producers.runner import Run


async def until(stopped: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or for a stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


async def idle(this: Run, stopped: asyncio.Event, seconds: float) -> None:
    """The same, and serve the Kafka client meanwhile."""
    end = time.monotonic() + seconds
    while not this.stop.requested and (left := end - time.monotonic()) > 0:
        this.publisher.poll()
        await until(stopped, min(left, 5.0))
