"""A jar for Flink's Kafka connector, which brings Kafka's classes under names of its own.

A class that Kafka is told to use, as that of a login by IAM, was compiled against Kafka's usual names. Here it gets the
connector's, as Maven's shade plugin would give it. The format is that of chapter 4.4 of Java's specification: a name
stands in a table of constants, each with its length, and nothing else in the file depends on how long it is.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

# By its tag, how many bytes a constant has after it. A text (tag 1) says it itself.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
TEXT, TWO_PLACES = 1, (5, 6)
TABLE = 8  # after the magic number and the version


def renamed(jar: Path, target: Path, package: str, old: str, new: str) -> None:
    """Write ``target``: the jar, in which the classes below ``package`` name ``new`` what they name ``old``.

    All three are paths, as in ``org/apache/kafka/``. Blocks for some seconds. ``target`` is there whole or not at all.
    """
    with TemporaryDirectory(dir=target.parent, prefix=".renamed-") as folder:
        part = Path(folder) / target.name
        with zipfile.ZipFile(jar) as given, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as made:
            for entry in given.infolist():
                data = given.read(entry)
                if entry.filename.startswith(package) and entry.filename.endswith(".class"):
                    data = in_class(data, old.encode(), new.encode())
                made.writestr(entry, data)
        part.replace(target)


def in_class(data: bytes, old: bytes, new: bytes) -> bytes:
    """A class file in whose texts ``new`` stands for ``old``."""
    (count,) = struct.unpack_from(">H", data, TABLE)
    constants = list(_constants(data, count))
    end = TABLE + 2 + sum(map(len, constants))
    return data[: TABLE + 2] + b"".join(_with(constant, old, new) for constant in constants) + data[end:]


def _constants(data: bytes, count: int) -> Iterator[bytes]:
    at, place = TABLE + 2, 1
    while place < count:
        tag = data[at]
        size = 3 + struct.unpack_from(">H", data, at + 1)[0] if tag == TEXT else 1 + SIZES[tag]
        yield data[at : at + size]
        at += size
        place += 2 if tag in TWO_PLACES else 1


def _with(constant: bytes, old: bytes, new: bytes) -> bytes:
    if constant[0] != TEXT or old not in constant:
        return constant
    text = constant[3:].replace(old, new)
    return bytes([TEXT]) + struct.pack(">H", len(text)) + text
