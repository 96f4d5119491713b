from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, OverflowMethod, RenderableType
from rich.screen import Screen
from rich.text import Text

from insights.cli.terminal_table import Column, Screenful, TerminalTable, folded


def drawn(shown: RenderableType, width: int, overflow: OverflowMethod | None = None, height: int = 100) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(shown, overflow=overflow, crop=False)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def parts() -> TerminalTable:
    sheet = TerminalTable(
        "parts", Column(), Column(name="MB", right=True), Column(name="address", flows=True), note="a note"
    )
    sheet.add("kafka", "1,512", "127.0.0.1:19092")
    sheet.add("registry", "330", "http://127.0.0.1:19081/apis/ccompat/v7")
    return sheet


def test_a_row_is_a_line_where_there_is_room() -> None:
    assert drawn(parts(), 80) == [
        "parts        MB  address",
        "kafka     1,512  127.0.0.1:19092",
        "registry    330  http://127.0.0.1:19081/apis/ccompat/v7",
        "a note",
    ]


def test_an_address_without_room_goes_beneath_its_row() -> None:
    assert drawn(parts(), 50) == [
        "parts        MB  address",
        "kafka     1,512  127.0.0.1:19092",
        "registry    330",
        "          http://127.0.0.1:19081/apis/ccompat/v7",
        "a note",
    ]


def test_where_there_is_little_room_all_go_beneath() -> None:
    assert drawn(parts(), 42)[:3] == ["parts        MB", "kafka     1,512", "          127.0.0.1:19092"]


def test_an_address_that_fits_beneath_at_a_smaller_indent_is_whole() -> None:
    assert "  http://127.0.0.1:19081/apis/ccompat/v7" in drawn(parts(), 42)


def test_gaps_shrink_before_a_row_takes_two_lines() -> None:
    sheet = TerminalTable("t", Column(), Column(name="n", right=True))
    sheet.add("topic", "1")
    assert drawn(sheet, 7) == ["t     n", "topic 1"]
    assert drawn(sheet, 6) == ["t    n", "topic", "     1"]


def test_a_text_is_wrapped_at_words_next_to_its_row() -> None:
    sheet = TerminalTable("", Column(), Column(flows=True))
    sheet.add("job", "Flink did not take the job and says why")
    assert drawn(sheet, 36) == ["job  Flink did not take the job and", "     says why"]


def test_a_word_longer_than_a_line_stays_whole_only_where_it_may_leave_the_line() -> None:
    sheet = TerminalTable("", Column(), Column(flows=True))
    sheet.add("lake", "/a/long/way/to/the/lake")
    assert drawn(sheet, 12, "ignore") == ["lake", "  /a/long/way/to/the/lake"]
    assert drawn(sheet, 12) == ["lake", "  /a/long/wa", "  y/to/the/l", "  ake"]


words = st.lists(st.text("abcdef/:.自", min_size=1, max_size=30), max_size=12).map(" ".join)


@given(text=words, width=st.integers(1, 60))
def test_a_folded_text_has_all_its_words_whole_and_in_order(text: str, width: int) -> None:
    lines = [line.plain for line in folded(Text(text), width, whole_words=True)]
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or " " not in line for line in lines)


@given(text=words, width=st.integers(2, 60))
def test_a_folded_text_fits_when_long_words_may_break(text: str, width: int) -> None:
    lines = [line.plain for line in folded(Text(text), width, whole_words=False)]
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


rows = st.lists(st.tuples(st.text("abc.", min_size=1, max_size=30), st.integers(0, 10**12), words), max_size=8)


@given(rows=rows, width=st.integers(60, 200))
def test_a_sheet_fits_its_width_and_loses_nothing(rows: list[tuple[str, int, str]], width: int) -> None:
    sheet = TerminalTable("names", Column(), Column(name="numbers", right=True), Column(name="said", flows=True))
    for name, number, said in rows:
        sheet.add(name, f"{number:,}", said)
    lines = drawn(sheet, width)
    assert all(len(line) <= width for line in lines)
    left = " ".join(lines).split()
    for name, number, said in rows:
        for word in (name, f"{number:,}", *said.split()):
            left.remove(word)
    assert set(left) <= {"names", "numbers", "said"}


@pytest.mark.parametrize(("height", "last"), [(4, "a note"), (3, "… 2 more lines; enlarge the window to see them")])
def test_a_screenful_shows_how_much_is_beyond_the_screen(height: int, last: str) -> None:
    shown = drawn(Screen(Screenful(parts())), 80, height=height)
    assert len(shown) == height
    assert shown[-1].rstrip() == last
