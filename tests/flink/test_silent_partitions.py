"""A silent partition holds nothing back, and its silence makes nothing late that would not have been."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flink.decoding import java

pytestmark = pytest.mark.engine

NOTHING = -(1 << 63)
MINUTE = 60
HOUR = 3_600
DAY = 24 * HOUR
ANSWER_SECONDS = 60
Moment = tuple[int, Sequence[int | None]]
"""A time in seconds, and by partition the watermark that an event of then makes; None without an event."""
Follow = Callable[..., list[list[int]]]


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Follow]:
    """``follow(timeout, moments, others)``: each partition's watermark at each moment; ``others``: of others."""
    folder = tmp_path_factory.mktemp("follow")
    log = folder / "java.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            java("FollowMany", folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield partial(ask, process, log)
    finally:
        process.kill()
        process.communicate()


def ask(
    process: subprocess.Popen[str], log: Path, timeout: int, moments: Sequence[Moment], others: int = NOTHING
) -> list[list[int]]:
    """What came of each moment. Fails with Java's last words when it ends or answers nothing for a while."""
    assert process.stdout
    lines = [f"anew {timeout} {len(moments[0][1])} {others}"]
    lines += [" ".join([str(now), *("-" if at is None else str(at) for at in events)]) for now, events in moments]
    # While answers are read: neither side may wait for the other with both pipes full.
    writer = threading.Thread(target=write, args=(process, "".join(f"{line}\n" for line in lines)), daemon=True)
    too_long = threading.Timer(ANSWER_SECONDS, process.kill)
    writer.start()
    too_long.start()
    try:
        answers = [process.stdout.readline() for _ in moments]
    finally:
        too_long.cancel()
    assert all(answers), f"Java ended or did not answer; its last words: {log.read_text()[-3000:]}"
    writer.join(ANSWER_SECONDS)
    return [[int(word) for word in answer.split()] for answer in answers]


def write(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin
    with suppress(BrokenPipeError):  # the reader of the answers reports the reason
        process.stdin.write(text)
        process.stdin.flush()


def moments(until: int, events: dict[int, list[int | None]], partitions: int = 4) -> list[Moment]:
    """A moment each second."""
    return [(now, events.get(now, [None] * partitions)) for now in range(until)]


def test_until_the_timeout_a_partition_without_events_holds_the_others_back(follow: Follow) -> None:
    found = follow(MINUTE, moments(200, {10: [1000, None, None, None]}))
    common = [min(watermarks) for watermarks in found]
    assert common[:70] == [NOTHING] * 70
    assert set(common[70:]) == {1000}


@pytest.mark.parametrize("idle", [0, 90, 3 * HOUR])
def test_how_long_all_were_silent_before_does_not_matter_to_orders_that_come_then(follow: Follow, idle: int) -> None:
    """A file of weeks of orders, within seconds: Flink's own timeout has each partition judged by the first of them."""
    spoken: dict[int, list[int | None]] = {0: [1, 1, 1, 1]}
    spoken[idle + 10] = [40 * DAY, None, None, None]
    spoken[idle + 12] = [None, 3 * DAY, None, None]
    spoken[idle + 14] = [None, None, 2 * DAY, None]
    found = follow(MINUTE, moments(idle + 60, spoken))
    assert found[idle + 12][1] == 3 * DAY
    assert found[idle + 14][2] == 2 * DAY
    assert max(min(watermarks) for watermarks in found) <= 1


@pytest.mark.parametrize("behind", [23 * HOUR, 25 * HOUR])
def test_of_two_orders_90_s_apart_the_second_is_judged_by_the_first(follow: Follow, behind: int) -> None:
    """Its partition was silent for a minute while the other had gone on: windows may be final without it."""
    newest = 100 * DAY
    found = follow(MINUTE, moments(400, {200: [newest, None, None, None], 290: [None, newest - behind, None, None]}))
    watermark = max(newest - behind, min(found[290]))
    assert min(found[290]) == newest
    assert (newest - behind < watermark - DAY) == (behind > DAY)


def test_java_takes_more_than_pipes_hold_and_its_end_is_reported(follow: Follow, tmp_path: Path) -> None:
    many = moments(30_000, {0: [1, 2, 3, 4]})
    assert follow(MINUTE, many)[-1] == [4, 4, 4, 4]
    log = tmp_path / "java.log"
    log.write_text("no such class")
    of_one_line = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with of_one_line, pytest.raises(AssertionError, match="last words: no such class"):
        ask(of_one_line, log, MINUTE, moments(3, {}))


def test_when_all_are_silent_the_last_reported_watermark_is_followed(follow: Follow) -> None:
    found = follow(MINUTE, moments(400, {10: [500, 700, None, None], 100: [None, 900, None, None]}))
    assert found[159] == [700, 900, 700, 700]
    assert found[160] == [900, 900, 900, 900]


def test_a_silent_topic_goes_as_far_as_others_ask_and_one_with_events_by_its_own(follow: Follow) -> None:
    found = follow(MINUTE, moments(200, {0: [500, 900, None, None], 100: [600, None, None, None]}), others=800)
    assert found[59] == [500, 900, NOTHING, NOTHING]
    assert found[60] == [900, 900, 900, 900]
    nothing_of_its_own = follow(MINUTE, moments(100, {}), others=800)
    assert nothing_of_its_own[59] == [NOTHING] * 4
    assert nothing_of_its_own[60] == [800] * 4


def test_two_that_fall_silent_at_once_come_as_far_as_the_further_one(follow: Follow) -> None:
    found = follow(MINUTE, moments(130, {0: [500, 900, None, None]}))
    assert found[59] == [500, 900, NOTHING, NOTHING]
    assert found[60] == [900, 900, 900, 900]


events = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 50))


@pytest.mark.fuzz
@given(
    timeout=st.integers(1, 8),
    said=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(events, min_size=n, max_size=n), min_size=1, max_size=40)
    ),
)
def test_a_watermark_never_goes_back_nor_beyond_what_was_reported_a_timeout_ago(
    follow: Follow, timeout: int, said: list[list[int | None]]
) -> None:
    found = follow(timeout, list(enumerate(said)))
    for n in range(len(said[0])):
        watermarks = [moment[n] for moment in found]
        assert watermarks == sorted(watermarks)
        for now, watermark in enumerate(watermarks):
            own = [row[n] for row in said[: now + 1]]
            others = [at for row in said[: max(0, now - timeout + 1)] for at in row]
            assert watermark <= max((at for at in own + others if at is not None), default=NOTHING)
            assert watermark >= max((at for at in own if at is not None), default=NOTHING)


@pytest.mark.fuzz
@given(timeout=st.integers(1, 8), said=st.lists(events, min_size=1, max_size=30), silent=st.integers(1, 3))
def test_silent_partitions_hold_nothing_back_for_longer_than_the_timeout(
    follow: Follow, timeout: int, said: list[int | None], silent: int
) -> None:
    """Where one speaks alone, the common watermark is where it was the timeout ago."""
    alone = [[at, *[None] * silent] for at in said] + [[None] * (silent + 1)] * (timeout + 1)
    found = follow(timeout, list(enumerate(alone)))
    newest = max((at for at in said if at is not None), default=NOTHING)
    assert min(found[-1]) == newest
