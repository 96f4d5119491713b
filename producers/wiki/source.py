"""The ``wiki`` source: publishes the edits that Wikimedia's stream of recent changes tells of, until it is stopped.

A position in the stream is a time, and changes may share one. So after a cut it reads the last seconds again and
leaves out what it has had. What was read is committed once a second: Kafka first, then the position, which never goes
back, and the edits' ids. After a kill in between, the same edits are published again under the same ids, which count
once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final

import aiohttp

from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.retry_after import retry_after
from producers.runner import Run
from producers.scraping import addresses
from producers.waiting import idle
from producers.wiki import edits, positions
from producers.wiki.edits import UnreadableChange
from producers.wiki.positions import BadPosition
from producers.wiki.seen import Seen
from producers.wiki.sse import Message, Reader
from schemas import catalogue
from schemas.catalogue import MOST_AHEAD
from schemas.errors import PoisonEvent, Retryable

WIKI_EDITED: Final = catalogue.event("public.wiki_edited")
STREAM: Final = "https://stream.wikimedia.org/v2/stream/recentchange"
ROBOT: Final = "InsightsHubWiki/1.0"
REWIND_SECONDS: Final = 30
MOST_BYTES: Final = 1 << 20  # of one message; the largest are a few thousand
DEAD_HEAD_BYTES: Final = 16_384
TICK_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0
STALLED_SECONDS: Final = 60.0  # without a whole line; Wikimedia has dozens a second
COMMIT_EVENTS: Final = 500
REPORT_SECONDS: Final = 300.0
FIRST_WAIT_SECONDS: Final = 1.0  # doubled each time, and by chance up to half less
LONGEST_WAIT_SECONDS: Final = 300.0
MOST_PATIENCE_SECONDS: Final = 3_600.0  # what a server may ask for


class StreamCut(Retryable):
    """The stream gives nothing more on this connection. ``after_seconds`` is how long the server wants to be left."""

    def __init__(self, problem: str, after_seconds: float = 0.0) -> None:
        super().__init__(problem.encode(errors="backslashreplace").decode())
        self.after_seconds = after_seconds


def run(this: Run) -> None:
    """Publish edits of ``options.url`` (Wikimedia's stream by default) until stopped.

    Raises DeliveryFailed or BrokerUnavailable. A stream that is away is asked for again.
    """
    asyncio.run(_follow(this))


async def _follow(this: Run) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(this.stop.fileno(), stopped.set)
    reach = addresses.public_or_private if this.options.private else addresses.public
    seen = Seen(this.options.state / "wiki.sqlite", this.options.url or STREAM)
    intake = Intake(this, seen, PersonKeys(this.options.state))
    failures = 0
    try:
        async with addresses.session(reach) as session:
            while not this.stop.requested:
                before = intake.progress
                cut = await _connection(this, session, intake)
                failures = 0 if intake.progress != before else failures + 1
                intake.report()
                if not this.stop.requested:
                    seconds = wait_seconds(failures, cut.after_seconds)
                    this.log.warning("stream cut", problem=str(cut), again_in_seconds=round(seconds, 1))
                    await idle(this, stopped, seconds)
    finally:
        intake.close()


async def _connection(this: Run, session: aiohttp.ClientSession, intake: Intake) -> StreamCut:
    """Read one connection to its end, and commit what it gave. Returns why it ended."""
    reader = Reader(MOST_BYTES)
    try:
        await _read(this, session, intake, reader)
        cut = StreamCut("the server ended the stream")
    except StreamCut as error:
        cut = error
    except aiohttp.InvalidURL as error:
        cut = StreamCut(f"--url is no address: {error}", LONGEST_WAIT_SECONDS)
    except TimeoutError as error:  # aiohttp's are of this kind, too
        cut = StreamCut(str(error) or f"the server gave no answer within {ANSWER_SECONDS:g} s")
    except (aiohttp.ClientError, ValueError, OSError) as error:
        cut = StreamCut(f"{getattr(error, 'os_error', error)}" or type(error).__name__)
    intake.commit()
    cut.after_seconds = max(cut.after_seconds, min(reader.retry_seconds, LONGEST_WAIT_SECONDS))
    return cut


def wait_seconds(failures: int, wanted: float, chance: float | None = None) -> float:
    """How long to leave the server alone, after so many connections in a row that gave nothing."""
    drawn = Random().random() if chance is None else chance  # noqa: S311 not a secret
    seconds = min(FIRST_WAIT_SECONDS * 2.0 ** min(failures, 16), LONGEST_WAIT_SECONDS)
    return max(seconds * (1 - drawn / 2), min(wanted, MOST_PATIENCE_SECONDS))


async def _read(this: Run, session: aiohttp.ClientSession, intake: Intake, reader: Reader) -> None:
    """Take what one connection gives. Raises StreamCut, aiohttp's errors and TimeoutError."""
    contact = f" (+{this.options.contact})" if this.options.contact else ""
    headers = {
        "User-Agent": ROBOT + contact,
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "Cache-Control": "no-store",
    }
    if intake.seen.position is not None:
        headers["Last-Event-ID"] = positions.resumed(intake.seen.position, intake.reached, REWIND_SECONDS)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with asyncio.timeout(ANSWER_SECONDS) as until_answer:
        request = session.get(this.options.url or STREAM, headers=headers, timeout=timeout, allow_redirects=False)
        async with request as response:
            until_answer.reschedule(None)
            _refuse(response)
            this.log.info("reading", resumed=intake.seen.position is not None)
            await _pieces(this, response.content, intake, reader)


def _refuse(response: aiohttp.ClientResponse) -> None:
    """Raises StreamCut unless the answer is a stream."""
    if response.status != 200:
        wanted = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        raise StreamCut(f"the server returned {response.status} {response.reason}", wanted)
    if response.content_type != "text/event-stream":
        raise StreamCut(f"the answer is {response.content_type[:100]}, not text/event-stream; check --url")


async def _pieces(this: Run, content: aiohttp.StreamReader, intake: Intake, reader: Reader) -> None:
    lines, since = 0, time.monotonic()
    while not this.stop.requested:
        piece: bytes | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                piece = await content.readany()
        for message in reader.feed(piece or b""):
            if this.stop.wait(0):
                break
            intake.take(message)
        if intake.is_due():
            intake.commit()
            since = time.monotonic()  # Kafka may have been slow: that is no fault of the server's
        if reader.lines > lines:
            lines, since = reader.lines, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            raise StreamCut(f"the server sent no whole line for {STALLED_SECONDS:g} s")
        if piece == b"":
            return


class Intake:
    """Takes messages, publishes the edits among them, and accounts for all of them.

    Attributes:
        seen: the state file.
        reached: where the newest committed message stands; behind the kept position while seconds are read again.
        counts: what became of them since the last report; their sum is the number of messages.
    """

    def __init__(self, this: Run, seen: Seen, keys: PersonKeys) -> None:
        self.seen = seen
        self.reached: str | None = None
        self.counts: Counter[str] = Counter()
        self._this = this
        self._keys = keys
        self._letters = Letters(this.publisher, keys, this.clock)
        self._position: str | None = None
        self._news = 0
        self._uncommitted = 0
        self._committed_at = self._reported_at = time.monotonic()

    def take(self, message: Message) -> None:
        """Publish the message if it is an edit that was not had before. Raises as Publisher.publish."""
        self._uncommitted += 1
        self._position = message.id or self._position
        outcome = self._outcome(message)
        self.counts[outcome] += 1
        self._news += outcome in ("published", "dead")

    @property
    def progress(self) -> tuple[str | None, int]:
        """Another one when something was told that was not had before, or the kept position moved."""
        return self.seen.position, self._news

    def _outcome(self, message: Message) -> str:
        name = self._this.source.name
        if message.event != "message":
            return "no_changes"
        try:
            if not message.is_whole:
                raise UnreadableChange(f"the message is larger than {MOST_BYTES:,} bytes")
            change = edits.change(message.data)
            if edits.is_canary(change):
                return "canaries"
            if not edits.is_edit(change):
                return "other_changes"
            return self._publish(edits.record(message.data, name, partial(self._keys.editor, name)))
        except PoisonEvent as error:
            return self._bury(message, error)

    def _publish(self, record: dict[str, Any]) -> str:
        if not self.seen.take(record["event_id"].encode()):
            return "had_before"
        self._this.publish(WIKI_EDITED, record)
        return "published"

    def _bury(self, message: Message, error: PoisonEvent) -> str:
        if not self.seen.take(b"dead" + edits.key(message.data)):
            return "had_before"
        head, origin = message.data[:DEAD_HEAD_BYTES], {"position": message.id}
        self._letters.send(WIKI_EDITED, head, error=error, origin=origin)
        return "dead"

    def is_due(self) -> bool:
        """Whether it is time to commit; serves the Kafka client, too."""
        self._this.publisher.poll()
        if time.monotonic() - self._reported_at > REPORT_SECONDS:
            self.report()
        waited = time.monotonic() - self._committed_at
        return self._uncommitted >= COMMIT_EVENTS or (self._uncommitted > 0 and waited >= TICK_SECONDS)

    def commit(self) -> None:
        """Blocks until Kafka has what was published; then it, and the position, are kept."""
        self._this.publisher.flush()
        self.reached = self._good_position() or self.reached
        self.seen.commit(self.reached and positions.furthest(self.seen.position, self.reached))
        self._uncommitted = 0
        self._committed_at = time.monotonic()

    def _good_position(self) -> str | None:
        """Where reading stopped, if the stream said so; without it, reading goes on from the last good one."""
        position, self._position = self._position, None
        try:
            return position and positions.checked(position, self._this.clock() + MOST_AHEAD.total_seconds())
        except BadPosition as error:
            self._this.log.warning("position not kept", problem=str(error))
            return None

    def report(self) -> None:
        """Log what became of the messages since the last report."""
        self._this.log.info("messages read", **{name: self.counts[name] for name in sorted(self.counts)})
        self.counts.clear()
        self._reported_at = time.monotonic()

    def close(self) -> None:
        """Close the state file, and that of the keys."""
        self.seen.close()
        self._keys.close()
