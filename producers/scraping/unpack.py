"""An answer's body, unpacked piece by piece and never past a limit: a few packed bytes can be gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from typing import Final

ACCEPTED: Final = "gzip, deflate"
WITH_GZIP_HEADER: Final = 31
WITH_ZLIB_HEADER: Final = 15
BARE: Final = -15
ZLIB: Final = 8  # the low half of a zlib header's first byte


class BadBody(Exception):
    """The body is too large, or packed in a way that can't be read. The message says which."""


async def unpacked(chunks: AsyncIterable[bytes], encoding: str, most_bytes: int) -> bytes:
    """The whole body. ``encoding`` is the answer's Content-Encoding. Raises BadBody.

    Holds at most ``most_bytes`` and one chunk; both the packed and the unpacked size count.
    """
    unpack = _Unpacker(encoding.strip().lower())
    body, came = bytearray(), 0
    async for chunk in chunks:
        came += len(chunk)
        body += unpack(chunk, most_bytes + 1 - len(body))
        if max(came, len(body)) > most_bytes:
            raise BadBody(f"is larger than {most_bytes:,} bytes")
    if not unpack.is_whole:
        raise BadBody(f"its {unpack.encoding} ends early")
    return bytes(body)


class _Unpacker:
    def __init__(self, encoding: str) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BadBody(f"is packed as {encoding[:40]}, and only {ACCEPTED} were accepted")
        self.encoding = encoding
        self._is_packed = encoding not in ("", "identity")
        self._stream = zlib.decompressobj(WITH_GZIP_HEADER) if encoding.endswith("gzip") else None

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
            return self._stream.decompress(chunk, most)
        except zlib.error as error:
            raise BadBody(f"its {self.encoding} is broken ({error})") from error
