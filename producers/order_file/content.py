"""The bytes of an order file: unpacked, and decoded from their encoding. Pure: bytes in, text out."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from pathlib import PurePosixPath
from struct import error as struct_error
from typing import Final

from schemas.errors import Misconfigured

AUTO: Final = "auto"
MOST_BYTES: Final = 2 << 30
SAMPLE_BYTES: Final = 64 << 10
GZIP: Final = b"\x1f\x8b"
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an empty one's
OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0"  # and a newer one with a password
BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: it begins with that one's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNREADABLE: Final = "\ufffd"


def unpacked(content: bytes, name: str) -> bytes:
    """What is in a gzip file, or in a zip archive of one file; anything else as it is. Raises Misconfigured."""
    if content.startswith(GZIP):
        return unpacked(_gunzipped(content, name), name)
    if content.startswith(ZIP) and not is_workbook(content):
        return unpacked(_unzipped(content, name), name)
    return content


def is_workbook(content: bytes) -> bool:
    """Whether these are the bytes of a spreadsheet, of Excel's kinds or OpenDocument's."""
    if content.startswith(OLD_EXCEL):
        return True
    if not content.startswith(ZIP):
        return False
    try:
        names = set(zipfile.ZipFile(io.BytesIO(content)).namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct_error):
        return False
    return bool(names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"})


def archived(content: bytes) -> dict[str, bytes]:
    """The files in a zip archive, by name, without what systems add. Raises as zipfile does, or Misconfigured."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and not _is_junk(info.filename)]
        if sum(info.file_size for info in infos) > MOST_BYTES:
            raise Misconfigured(f"holds more than {MOST_BYTES >> 30} GiB; split it into files by month or year")
        for info in infos:
            found[info.filename] = archive.read(info)
    return found


def _unzipped(content: bytes, name: str) -> bytes:
    try:
        files = archived(content)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError, struct_error) as error:
        raise Misconfigured(f"the archive {name} is damaged ({error}); export or copy it again") from error
    except RuntimeError as error:  # zipfile's for a password
        raise Misconfigured(f"the archive {name} has a password; unpack it first and name the file in it") from error
    except Misconfigured as error:
        raise Misconfigured(f"the archive {name} {error}") from error
    if len(files) != 1:
        held = ", ".join(sorted(files)) or "nothing"
        raise Misconfigured(f"the archive {name} should hold one file and holds {held}; unpack it and name one")
    return next(iter(files.values()))


def _gunzipped(content: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            text = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Misconfigured(f"{name} is a damaged gzip file ({error}); export or copy it again") from error
    if len(text) > MOST_BYTES:
        raise Misconfigured(f"{name} holds more than {MOST_BYTES >> 30} GiB; split it into files by month or year")
    return text


def _is_junk(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def known(encoding: str) -> str:
    """The encoding's own name, or ``auto``. Raises Misconfigured when Python knows no text encoding of that name."""
    if encoding == AUTO:
        return AUTO
    try:
        found = codecs.lookup(encoding)
        io.TextIOWrapper(io.BytesIO(), encoding)  # refuses what is no encoding of text, as base64
    except (LookupError, ValueError) as error:
        raise Misconfigured(
            f"there is no encoding {encoding!r}; write utf-8, utf-16, cp1252 or shift_jis, or omit it to detect it"
        ) from error
    return found.name


def encoding_of(content: bytes) -> str:
    """Which encoding text is in: by its byte order mark, else UTF-8 when it can be, else what its bytes are like."""
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return encoding
    if wide := _utf_16_without_mark(content[:SAMPLE_BYTES]):
        return wide
    try:
        content.decode()
    except UnicodeDecodeError:
        return _legacy_encoding(content)
    return "utf-8"


def decoded(content: bytes, encoding: str) -> str:
    """The text. Bytes that can't be stay in it as surrogates, or as U+FFFD where an encoding has no such way."""
    for errors in ("strict", "surrogateescape"):
        try:
            return content.decode(encoding, errors).removeprefix("\ufeff")
        except UnicodeError:
            continue
    return content.decode(encoding, "replace").removeprefix("\ufeff")


def is_readable(text: str, encoding: str) -> bool:
    """Whether nothing in a text that ``decoded`` gave stands for bytes that are no text."""
    if text.isascii():
        return True
    if encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32")) and UNREADABLE in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _utf_16_without_mark(sample: bytes) -> str | None:
    """Text that is mostly Latin has a zero in every second byte."""
    half = len(sample) // 2
    if half < 8:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return None


def _legacy_encoding(content: bytes) -> str:
    sample = b"\n".join(line for line in content.splitlines() if not line.isascii())[:SAMPLE_BYTES]
    text = sample.decode("utf-8", "surrogateescape")
    bad = sum("\udc80" <= character <= "\udcff" for character in text)
    if sum(character > "\x7f" for character in text) - bad > bad:
        return "utf-8"  # most of it is: a row that is not is refused by itself
    from charset_normalizer import from_bytes  # a tenth of a second to load, and most files are UTF-8

    best = from_bytes(sample, cp_isolation=["cp1252", "cp932"]).best()
    if best is not None and best.encoding == "cp932" and _is_japanese(sample.decode("cp932", "replace")):
        return "cp932"
    return "cp1252"


def _is_japanese(text: str) -> bool:
    """Kana or kanji: two Latin letters with accents can be half-width kana, a pound sign its bracket."""
    return any("\u3041" <= character <= "\u9fff" for character in text)
