"""A stream that is compressed and encrypted, and back. age's library works in a thread at the other end of a pipe."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyrage
import zstandard

from schemas.errors import Misconfigured

LEVEL = 3
CHUNK = 1 << 20


@contextmanager
def encrypted(out: IO[bytes], key: Any) -> Iterator[IO[bytes]]:
    """What is written to it comes compressed and encrypted to ``out``."""
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with _beside(lambda: pyrage.encrypt_io(reading, out, [key]), reading):
        try:
            with zstandard.ZstdCompressor(level=LEVEL, threads=-1).stream_writer(writing, closefd=False) as stream:
                yield stream
        finally:
            writing.close()


@contextmanager
def decrypted(source: Path, identities: list[Any]) -> Iterator[IO[bytes]]:
    """What was written, to its end. Raises Misconfigured when the file can't be read, and what age and zstd raise."""
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    try:
        file = source.open("rb")
    except OSError as error:
        raise Misconfigured(f"{source} can't be read: {error.strerror}") from error
    with file, _beside(lambda: pyrage.decrypt_io(file, writing, identities), writing):
        try:
            stream = zstandard.ZstdDecompressor().stream_reader(reading)
            yield stream
            while stream.read(CHUNK) or reading.read(CHUNK):
                pass  # to its end, where age notices what was cut
        finally:
            reading.close()


@contextmanager
def _beside(work: Callable[[], None], end: IO[bytes]) -> Iterator[None]:
    """Runs ``work`` in a thread, which closes its end of a pipe; what it raises is raised when the block is left."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            with suppress(OSError):
                end.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError):
        thread.join()
        if raised:
            raise raised[0] from None
        raise
    thread.join()
    if raised:
        raise raised[0]
