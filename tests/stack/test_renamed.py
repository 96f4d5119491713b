"""A jar whose classes name another jar's by the names that those have there."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from insights.renamed import in_class, renamed


def class_with(*constants: bytes) -> bytes:
    """A class file that has nothing but its table of constants. One of eight bytes takes two places in it."""
    places = 1 + len(constants) + sum(constant[0] in (5, 6) for constant in constants)
    return b"\xca\xfe\xba\xbe\0\0\0\x37" + struct.pack(">H", places) + b"".join(constants) + b"what follows"


def text(words: str) -> bytes:
    return b"\1" + struct.pack(">H", len(words)) + words.encode()


NUMBER, REFERENCE = b"\5" + b"old/\0\0\0\0", b"\x07\0\1"


def test_a_name_is_replaced_wherever_a_text_has_it_and_nothing_else_changes() -> None:
    given = class_with(text("Lold/A;(Lold/B;)V"), NUMBER, REFERENCE, text("other/old"))
    made = class_with(text("Lmuch/longer/A;(Lmuch/longer/B;)V"), NUMBER, REFERENCE, text("other/old"))
    assert in_class(given, b"old/", b"much/longer/") == made


def test_only_the_packages_own_classes_are_changed(tmp_path: Path) -> None:
    body = class_with(text("old/A"))
    with zipfile.ZipFile(tmp_path / "given.jar", "w") as jar:
        for name in ("mine/A.class", "theirs/B.class", "mine/old/notes.txt"):
            jar.writestr(name, body)
    renamed(tmp_path / "given.jar", tmp_path / "made.jar", "mine/", "old/", "new/")
    with zipfile.ZipFile(tmp_path / "made.jar") as jar:
        found = {name: jar.read(name) for name in jar.namelist()}
    assert found == {
        "mine/A.class": class_with(text("new/A")),
        "theirs/B.class": body,
        "mine/old/notes.txt": body,
    }
    assert [path.name for path in tmp_path.glob(".renamed-*")] == []
