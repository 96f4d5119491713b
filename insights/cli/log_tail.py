"""Reads the end of a log file, and follows it as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from processes.json_lines import readable

BLOCK_BYTES = 64 * 1024
POLL_SECONDS = 0.25


def readable_lines(chunks: Iterable[str]) -> Iterator[str]:
    """The complete lines in these pieces of a log, each as soon as it is there; JSON entries as lines for people."""
    begun = ""
    for chunk in chunks:
        *lines, begun = (begun + chunk).split("\n")
        yield from (f"{readable(line)}\n" for line in lines)
    if begun:
        yield readable(begun)


def last_lines(path: Path, lines: int) -> tuple[str, int]:
    """The last lines of a file, and the offset of its end. Reads only as much of a large file as necessary."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        start, tail = end, b""
        while start > 0 and tail.count(b"\n") <= lines:
            start = max(0, start - BLOCK_BYTES)
            file.seek(start)
            tail = file.read(end - start)
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    return b"".join(kept).decode(errors="replace"), end


def follow(path: Path, offset: int, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """What is added after the offset, as it comes; from the beginning when the file is replaced by a shorter one."""
    while True:
        size = path.stat().st_size if path.exists() else 0
        offset = 0 if size < offset else offset
        if size > offset:
            with path.open("rb") as file:
                file.seek(offset)
                added = file.read()
            offset += len(added)
            yield added.decode(errors="replace")
        wait(POLL_SECONDS)
