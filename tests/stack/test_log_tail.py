from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.cli.log_tail import follow, last_lines

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))


@given(lines=st.lists(texts), wanted=st.integers(0, 20))
def test_the_last_lines_are_those_that_reading_it_all_would_give(
    lines: list[str], wanted: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("logs") / "kafka.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    text, offset = last_lines(path, wanted)
    assert text == "".join(f"{line}\n" for line in lines[max(0, len(lines) - wanted) :])
    assert offset == path.stat().st_size


def test_a_large_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "kafka.log"
    path.write_text("".join(f"{number} {'x' * 1000}\n" for number in range(1_000)))
    text, _ = last_lines(path, 3)
    assert [line.split()[0] for line in text.splitlines()] == ["997", "998", "999"]


def test_following_gives_what_is_added_and_starts_over_when_the_log_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "kafka.log"
    path.write_text("first\n")
    changes = iter(["first\nsecond\n", "new\n"])
    followed = follow(path, 6, wait=lambda _: path.write_text(next(changes)) and None)
    assert list(islice(followed, 2)) == ["second\n", "new\n"]
