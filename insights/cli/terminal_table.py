"""Tables for a terminal of any width: no number is cut, and no word is broken if it fits on a line. rich draws them.

rich's own tables break the words, or cut the numbers, of a column that is too narrow; here, a column that does not fit
goes below its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

GAPS = (2, 1)
INDENT = 2
# A text with less room than this next to its row reads better below it.
ROOM = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a sheet.

    Attributes:
        name: stands above it. The first column has the sheet's title there.
        right: for numbers.
        flows: holds texts of any length, wrapped at words next to their row, or below it where there is little room.
        at_least: width that is kept free for it, so that nothing moves when its values change.
    """

    name: str = ""
    right: bool = False
    flows: bool = False
    at_least: int = 0


class TerminalTable:
    """Rows under a title, with a note beneath. The columns that flow come last, and the first one does not.

    A row is a line where its columns have room side by side; where they have not, the first gets a line of its own.
    A word longer than a whole line is broken, and with ``overflow="ignore"`` not even that.
    """

    def __init__(self, title: str, *columns: Column, note: str = "", gaps: Sequence[int] = GAPS) -> None:
        self._title = title
        self._gaps = gaps
        self._columns = columns
        self._note = note
        self._rows: list[tuple[Text, ...]] = []

    def add(self, *cells: str | Text) -> None:
        """A row. A cell is one paragraph, and empty when it is left out."""
        texts = [Text(" ".join(cell.split())) if isinstance(cell, str) else cell for cell in cells]
        self._rows.append((*texts, *(Text() for _ in self._columns[len(texts) :])))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines(options.max_width, whole_words=options.overflow == "ignore"):
            line.rstrip()
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def _lines(self, width: int, *, whole_words: bool) -> list[Text]:
        names = [column.name for column in self._columns[1:]]
        head = (Text(self._title, style="bold cyan"), *(Text(name, style="dim") for name in names))
        counted = [head, *self._rows] if any(names) else self._rows
        grid = _grid(self._columns, counted, self._gaps, width, whole_words=whole_words)
        return [
            *(grid.head(head) if self._title else ()),
            *(line for row in self._rows for line in grid.row(row)),
            *(folded(Text(self._note, style="dim"), width, whole_words=whole_words) if self._note else ()),
        ]


class Screenful:
    """As many lines as the screen has, and how many there are beyond them."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._shown, options.update(height=None), pad=False)
        fit = options.height or options.max_height
        cut = len(lines) - fit
        for line in lines if cut <= 0 else lines[: fit - 1]:
            yield from line
            yield Segment.line()
        if cut > 0:
            yield Text(f"… {cut + 1} more lines; enlarge the window to see them", style="dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Where the columns of a sheet stand in lines of one width."""

    columns: Sequence[Column]
    widths: Sequence[int]
    offsets: Sequence[int]
    width: int
    whole_words: bool

    def head(self, names: Sequence[Text]) -> list[Text]:
        """The names, but those of columns that are beneath their rows."""
        return self.row([name if self._has_room(place) else Text() for place, name in enumerate(names)])

    def row(self, cells: Sequence[Text]) -> list[Text]:
        """A row's line, and the lines of what flows."""
        lines = self._side_by_side(cells)
        first, beneath = len(lines) - 1, False
        for place, cell in enumerate(cells):
            if not self.columns[place].flows or not cell:
                continue
            beneath = beneath or not self._has_room(place) or self._is_broken_by(place, cell)
            if beneath:
                lines += self._beneath(cell)
                continue
            for number, piece in enumerate(self._folded(cell, self.offsets[place]), start=first):
                lines += [Text()] if number == len(lines) else []
                _put(lines[number], self.offsets[place], piece)
        return lines

    def _has_room(self, place: int) -> bool:
        return not self.columns[place].flows or self.width - self.offsets[place] >= min(self.widths[place], ROOM)

    def _is_broken_by(self, place: int, cell: Text) -> bool:
        """Whether a word has no room there, and more of it beneath."""
        return self.offsets[place] > INDENT and _longest_word(cell) > self.width - self.offsets[place]

    def _side_by_side(self, cells: Sequence[Text]) -> list[Text]:
        lines = [Text()]
        for place, cell in enumerate(cells):
            if self.columns[place].flows:
                break
            if lines[-1].cell_len >= self.offsets[place] > 0:
                lines.append(Text())
            before = self.widths[place] - cell.cell_len if self.columns[place].right else 0
            _put(lines[-1], self.offsets[place] + before, cell)
        return lines

    def _beneath(self, cell: Text) -> list[Text]:
        indent = self.offsets[1] if _longest_word(cell) <= self.width - self.offsets[1] else INDENT
        return [Text(" " * indent).append_text(piece) for piece in self._folded(cell, indent)]

    def _folded(self, cell: Text, offset: int) -> list[Text]:
        return folded(cell, self.width - offset, whole_words=self.whole_words)


def _grid(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], gaps: Sequence[int], width: int, *, whole_words: bool
) -> _Grid:
    widths = [max([column.at_least, *(row[place].cell_len for row in rows)]) for place, column in enumerate(columns)]
    fixed = [size for size, column in zip(widths, columns, strict=True) if not column.flows]
    gap = next((gap for gap in gaps if sum(fixed) + gap * (len(fixed) - 1) <= width), min(gaps))
    # Where not all of them have room, the first gives way.
    first = min(widths[0] + gap, max(INDENT, width - sum(fixed[1:]) - gap * (len(fixed) - 2)))
    offsets = [0, *accumulate((size + gap for size in widths[1:-1]), initial=first)]
    return _Grid(columns=columns, widths=widths, offsets=offsets, width=width, whole_words=whole_words)


def folded(text: Text, width: int, *, whole_words: bool) -> list[Text]:
    """In lines, at words. A word longer than the width is broken, unless words are to stay whole."""
    breaks, start = [], 0
    for word in re.finditer(r"\S+", text.plain):
        if word.start() > start and cell_len(text.plain[start : word.end()]) > width:
            breaks.append(start := word.start())
        if not whole_words and cell_len(word.group()) > width > 0:
            for piece in chop_cells(word.group(), width)[:-1]:
                breaks.append(start := start + len(piece))
    lines = list(text.divide(breaks))
    for line in lines:
        line.rstrip()
    return lines


def _put(line: Text, offset: int, piece: Text) -> None:
    line.append(" " * (offset - line.cell_len)).append_text(piece)


def _longest_word(text: Text) -> int:
    return max((cell_len(word) for word in text.plain.split()), default=0)
