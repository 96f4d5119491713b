"""Reads server-sent events from the pieces in which a connection delivers them, within a limit of memory.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

A message that was cut off is no message; of one that is too large only the head is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LINE_END: Final = re.compile(rb"\r\n|\n|\r")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
LONGEST_RETRY: Final = re.compile(rb"[0-9]{1,9}")  # milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the stream.

    Attributes:
        id: the newest id that the stream has given; empty before it gave one.
        event: its kind; ``message`` unless the stream says another.
        data: the lines of its data, joined; only the head of them when ``is_whole`` is not so.
        is_whole: whether it was within the limit.
    """

    id: str
    event: str
    data: bytes
    is_whole: bool = True


class Reader:
    """Turns pieces of a stream into messages. A new connection needs a new one.

    Attributes:
        lines: how many lines came to their end: a connection on which none does, sends nothing of use.
        retry_seconds: how long the server wants a client to wait before it connects again, if it said so.
    """

    def __init__(self, most_bytes: int) -> None:
        """``most_bytes``: of one message; so much is held at most, beside one piece."""
        self.lines = 0
        self.retry_seconds = 0.0
        self._most = most_bytes
        self._id = ""
        self._line = bytearray()
        self._line_bytes = 0  # as they came, also those that are not kept
        self._ended_by_cr = False
        self._begin()

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that are complete with this piece."""
        if self._ended_by_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._ended_by_cr = False
        if not piece:
            return
        self._ended_by_cr = piece.endswith(b"\r")
        *ended, rest = LINE_END.split(piece)
        for part in ended:
            self._take(part)
            yield from self._end_line()
        self._take(rest)

    def _begin(self) -> None:
        self._event = ""
        self._data: list[bytes] = []
        self._bytes = 0

    def _take(self, part: bytes) -> None:
        self._line += part[: max(self._most - self._bytes, 0)]
        self._line_bytes += len(part)
        self._bytes += len(part)

    def _end_line(self) -> Iterator[Message]:
        line, came = bytes(self._line), self._line_bytes
        self._line.clear()
        self._line_bytes = 0
        if self.lines == 0 and line.startswith(BYTE_ORDER_MARK):
            line, came = line[len(BYTE_ORDER_MARK) :], came - len(BYTE_ORDER_MARK)
        self.lines += 1
        if came == 0:
            if self._data:
                yield self._message()
            self._begin()
        elif line.startswith(b":"):
            self._bytes -= came  # a comment is no part of a message
        else:
            self._field(*line.partition(b":"))

    def _message(self) -> Message:
        return Message(
            id=self._id,
            event=self._event or "message",
            data=b"\n".join(self._data),
            is_whole=self._bytes <= self._most,
        )

    def _field(self, name: bytes, _colon: bytes, value: bytes) -> None:
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value and self._bytes <= self._most:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and LONGEST_RETRY.fullmatch(value):
            self.retry_seconds = int(value) / 1000
