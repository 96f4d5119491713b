"""Good inputs, with places spoiled as strangers might."""

from __future__ import annotations

from random import Random

PIECES = [
    *(b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":"),
    *(b"null", b"true", b"-0", b"NaN", b"1e999", b"1e-999", b"1e999999999", b"9" * 400, b"-1", b"0.000000000000001"),
    *(b"[" * 2_000, b'{"a":' * 200, b"<", b">", b"<!--", b"</script>", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    *(
        b"\x80" * 12,
        "\u202e\u20ac".encode(),
        b"2026-02-30T25:61:61Z",
        b"9999-12-31T23:59:59Z",
        b"0001-01-01",
        b" " * 300,
    ),
]


def spoiled(rng: Random, whole: list[bytes]) -> bytes:
    """Some bytes that a stranger may send: mostly a good input with a few places spoiled."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(200))
    value = bytearray(rng.choice(whole))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        at, length = rng.randrange(len(value) + 1), rng.choice((0, 1, 1, 2, 8, 40))
        match rng.randrange(5):
            case 0:
                del value[at : at + length]
            case 1:
                value[at : at + length] = rng.choice(PIECES)
            case 2:
                value[at:at] = bytes(value[:length])
            case 3:
                value[at : at + length] = rng.randbytes(length)
            case 4:
                other = rng.choice(whole)
                cut = rng.randrange(len(other) + 1)
                value[at:] = other[cut:]
    return bytes(value)
