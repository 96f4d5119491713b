"""The one thread that publishes for all: nobody who waits for it waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from producers.publisher import DeliveryFailed
from producers.writer import Writer
from schemas.errors import BrokerUnavailable, InsightsError


class Intake:
    """Commits as it is told."""

    def __init__(self, commit: Callable[[], None]) -> None:
        self.commit = commit

    def close(self) -> None:
        pass


def outcomes(commit: Callable[[], None], *, make: Callable[..., Intake] = Intake, cancels: bool = False) -> list[Any]:
    """What two writes of a batch came to, one that waited behind them, one after the end, and the writer itself."""

    async def run() -> list[Any]:
        writer: Writer[Intake] = Writer(lambda: make(commit))
        behind: list[asyncio.Task[Any]] = []
        loop = asyncio.get_running_loop()

        def come_behind() -> None:
            behind.append(loop.create_task(writer.write(lambda intake: "behind")))

        def first(intake: Intake) -> str:
            loop.call_soon_threadsafe(come_behind)
            return "first"

        writes = [loop.create_task(writer.write(work)) for work in (first, lambda intake: "second")]
        writing = loop.create_task(writer.run())
        async with asyncio.timeout(10):
            found = await asyncio.gather(*writes, return_exceptions=True)
            if cancels:
                writing.cancel()
            with suppress(asyncio.CancelledError):
                found += await asyncio.gather(writing, return_exceptions=True)
            found += await asyncio.gather(*behind, writer.write(lambda intake: "after"), return_exceptions=True)
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("error", [OSError("the disk is full"), DeliveryFailed("refused for good")])
def test_an_error_that_ends_the_writer_is_what_everybody_gets(error: Exception) -> None:
    def commit() -> None:
        raise error

    assert outcomes(commit) == [error] * 5


def test_an_intake_that_can_not_be_made_ends_it_too() -> None:
    error = OSError("no such folder")

    def make(commit: Callable[[], None]) -> Intake:
        raise error

    found = outcomes(lambda: None, make=make)
    assert set(found) == {error}


def test_a_kafka_that_is_away_is_what_a_batch_gets_and_the_next_is_tried() -> None:
    answers = iter([BrokerUnavailable("away"), None])

    def commit() -> None:
        if (error := next(answers, None)) is not None:
            raise error

    first, second, ended, behind, after = outcomes(commit, cancels=True)
    assert isinstance(first, BrokerUnavailable)
    assert second is first
    assert isinstance(ended, asyncio.CancelledError)
    assert behind == "behind" or isinstance(behind, InsightsError)
    assert isinstance(after, InsightsError)
