"""One thread publishes everything that is to be on the log, and waits for Kafka once for all callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from producers.publisher import DeliveryFailed
from schemas.errors import BrokerUnavailable, InsightsError


class Intake(Protocol):
    """What publishes, and remembers what it published. Of one thread only."""

    def commit(self) -> None:
        """Blocks until all that was taken is on the log. Raises BrokerUnavailable or DeliveryFailed."""
        ...

    def close(self) -> None:
        """Close what it remembers with."""
        ...


I = TypeVar("I", bound=Intake)  # noqa: E741 it stands for an intake
T = TypeVar("T")


class Writer(Generic[I]):
    """Runs work in the intake's thread. ``run`` must be running for ``write`` to come back."""

    def __init__(self, make_intake: Callable[[], I]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._make = make_intake
        self._intake: I | None = None
        self._waiting: list[tuple[Callable[[I], Any], asyncio.Future[Any]]] = []
        self._came = asyncio.Event()
        self._end: Exception | None = None

    async def write(self, work: Callable[[I], T]) -> T:
        """What the work returns, once all that it took is on the log and remembered.

        Raises BrokerUnavailable when Kafka did not acknowledge it in time (it may yet), what the work raises, and what
        ``run`` ended by.
        """
        if self._end is not None:
            raise self._end
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        self._came.set()
        return await done

    async def run(self) -> None:
        """Serve until cancelled. Raises DeliveryFailed when Kafka refused events for good, and any defect."""
        loop = asyncio.get_running_loop()
        batch: list[tuple[Callable[[I], Any], asyncio.Future[Any]]] = []
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                batch, self._waiting = self._waiting, []
                outcomes = await loop.run_in_executor(self._thread, self._do, [work for work, _ in batch])
                for (_, done), outcome in zip(batch, outcomes, strict=True):
                    _settle(done, outcome)
                fatal = next((each for each in outcomes if isinstance(each, DeliveryFailed)), None)
                if fatal is not None:
                    raise fatal
        except Exception as error:
            self._end = error
            raise
        finally:
            self._end = self._end or InsightsError("nothing more is published: the source stops")
            try:
                await loop.run_in_executor(self._thread, self._close)
                self._thread.shutdown(wait=False)
            finally:
                for _, done in (*batch, *self._waiting):
                    _settle(done, self._end)  # nobody may wait for ever

    def _do(self, works: list[Callable[[I], Any]]) -> list[Any]:
        """What each work came to: its result, or an exception."""
        self._intake = self._intake or self._make()
        outcomes: list[Any] = []
        for work in works:
            try:
                outcomes.append(work(self._intake))
            except Exception as error:
                outcomes.append(error)
        try:
            self._intake.commit()
        except (BrokerUnavailable, DeliveryFailed) as error:
            return [error] * len(works)
        return outcomes

    def _close(self) -> None:
        if self._intake is not None:
            self._intake.close()


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():  # who asked went away
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
