"""An answer's body, unpacked piece by piece and never past a limit: a few packed bytes can be gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from typing import Final

ACCEPTED: Final = "gzip, deflate"
WITH_GZIP_HEADER: Final = 31
WITH_ZLIB_HEADER: Final = 15
BARE: Final = -15
GZIP: Final = b"\x1f\x8b"
MOST_PARTS: Final = 1_000
ZLIB: Final = 8  # the low half of a zlib header's first byte


class BadBody(Exception):
    """The body is too large, or packed in a way that can't be read. The message says which."""


async def unpacked(chunks: AsyncIterable[bytes], encoding: str, most_bytes: int) -> bytes:
    """The whole body. ``encoding`` is the answer's Content-Encoding. Raises BadBody.

    Holds at most ``most_bytes`` and one chunk; both the packed and the unpacked size count.
    """
    unpack = Unpacker(encoding.strip().lower())
    body, came = bytearray(), 0
    async for chunk in chunks:
        came += len(chunk)
        body += unpack(chunk, most_bytes + 1 - len(body))
        if max(came, len(body)) > most_bytes:
            raise BadBody(f"is larger than {most_bytes:,} bytes")
    if not unpack.is_whole:
        raise BadBody(f"its {unpack.encoding} ends early")
    return bytes(body)


class Unpacker:
    """Unpacks one body, of an encoding as in Content-Encoding. Raises BadBody for one that it does not know."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BadBody(f"is packed as {encoding[:40]}, and only {ACCEPTED} were accepted")
        self.encoding = encoding
        self._is_packed = encoding not in ("", "identity")
        self._stream = zlib.decompressobj(WITH_GZIP_HEADER) if encoding.endswith("gzip") else None
        self._half = b""  # of what may be another part's first two bytes
        self._parts = 1

    @property
    def is_whole(self) -> bool:
        """Whether the packed stream came to its end."""
        return not self._is_packed or (self._stream is not None and self._stream.eof)

    def __call__(self, chunk: bytes, most: int) -> bytes:
        """At most ``most`` bytes, at least one: the caller ends when there are more than it wants."""
        if not self._is_packed or not chunk:
            return chunk
        if self._stream is None:  # a deflate with or without its header: servers send both
            self._stream = zlib.decompressobj(WITH_ZLIB_HEADER if chunk[0] & 15 == ZLIB else BARE)
        try:
            return self._all(self._stream, chunk, most)
        except zlib.error as error:
            raise BadBody(f"its {self.encoding} is broken ({error})") from error

    def _all(self, stream: zlib._Decompress, chunk: bytes, most: int) -> bytes:
        """A gzip may have several parts, one behind the other; what else is behind its end is left out."""
        body, left = bytearray(), self._half + chunk
        self._half = b""
        while left and len(body) < most:
            if stream.eof:
                if left == GZIP[:1]:
                    self._half = left
                if not left.startswith(GZIP):
                    break
                self._parts += 1
                if self._parts > MOST_PARTS:
                    raise BadBody(f"its {self.encoding} has more than {MOST_PARTS:,} parts")
                self._stream = stream = zlib.decompressobj(WITH_GZIP_HEADER)
            body += stream.decompress(left, most - len(body))
            left = stream.unused_data
        return bytes(body)
