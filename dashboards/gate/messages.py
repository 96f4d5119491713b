"""Which of a browser's messages to Streamlit are passed on, by the numbers of their fields (Streamlit's ``BackMsg``).

Streamlit's own classes read such a message, too, but they come with all of Streamlit, which this process does without.
The wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

STOP_SCRIPT, RERUN_SCRIPT, APP_HEARTBEAT, BACKEND_OPERATION = 7, 11, 17, 19
OF_EVERYBODY = {STOP_SCRIPT, RERUN_SCRIPT, APP_HEARTBEAT}
OF_A_DOWNLOAD = {1, 2, 3}  # of a backend operation: request_id, session_id, deferred_file
VARINT, BYTES = 0, 2
LONGEST_VARINT = 10


def is_passed_on(message: bytes, *, may_export: bool) -> bool:
    """Is it all something that a reader of the page needs? Others empty the caches of all, or write files."""
    try:
        found = list(_fields(message))
        return bool(found) and all(_is_needed(number, value, may_export) for number, value in found)
    except ValueError:
        return False


def _is_needed(number: int, value: bytes, may_export: bool) -> bool:
    if number == BACKEND_OPERATION:
        return may_export and all(inner in OF_A_DOWNLOAD for inner, _ in _fields(value))
    return number in OF_EVERYBODY


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each; no bytes where it is an integer. Raises ValueError for what is no such message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        length = 0
        if tag & 7 == BYTES:
            length, at = _varint(message, at)
        elif tag & 7 == VARINT:
            _, at = _varint(message, at)
        else:
            raise ValueError(f"{tag & 7} is no wire type of these messages")
        if at + length > len(message):
            raise ValueError("the message ends within a field")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer, and where what follows it begins."""
    found = 0
    for place, byte in enumerate(message[at : at + LONGEST_VARINT]):
        found |= (byte & 127) << 7 * place
        if byte < 128:
            return found, at + place + 1
    raise ValueError("the message ends within an integer")
