"""An order file as rows of cells, from any format: CSV and similar, JSON lines, a spreadsheet. Pure: bytes in.

A record knows the line (or row of its sheet) where it begins, so that a message can name it. A quoted cell of a CSV
file may contain line breaks. An unreadable row is broken by itself, and parsing restarts at the next line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from producers.order_file import content as contents
from schemas.errors import Misconfigured

WHITESPACE: Final = "whitespace"
DELIMITERS: Final = (",", ";", "\t", "|")
DELIMITER_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", WHITESPACE: "white space"}
MOST_LINES_OF_A_RECORD: Final = 1000
HEADER_WITHIN: Final = 20
QUOTED: Final = re.compile(r'"[^"]*"')


class Record(NamedTuple):
    """A row: its cells, the line it begins and ends at, from 1, and the sheet that those are of."""

    line: int
    last_line: int
    cells: Sequence[str]
    sheet: str = ""


class Broken(NamedTuple):
    """A row that could not be split into cells, and why; ``cells`` are a guess."""

    line: int
    problem: str
    sheet: str = ""
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file's rows, blank ones left out. ``form`` is what it was read as, in words; ``lines`` are a text's own."""

    form: str
    encoding: str
    records: Sequence[Record]
    broken: Sequence[Broken] = ()
    header: Sequence[str] | None = None
    has_typed_dates: bool = False
    lines: Sequence[str] = field(default=(), repr=False)

    def original(self, line: int, last_line: int, cells: Sequence[str] = ()) -> bytes:
        """The bytes of a row as they stood in the file, or, where a row is no text of its own, its cells as JSON."""
        if not self.lines:
            return json.dumps(list(cells), ensure_ascii=False).encode("utf-8", "surrogatepass")
        text = "".join(self.lines[line - 1 : last_line]).rstrip("\r\n")
        encoding = self.encoding.removesuffix("-sig")
        errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        return text.encode(encoding, errors)

    def with_header(self, names: Iterable[str]) -> Table:
        """The table below its header: the first of its first rows that has all the names, or its first row.

        Raises Misconfigured for a table without any row.
        """
        if self.header is not None:
            return self
        wanted = {folded(name) for name in names}
        for index, record in enumerate(self.records[:HEADER_WITHIN]):
            if wanted <= {folded(cell) for cell in record.cells}:
                return self._below(index)
        return self._below(0)

    def _below(self, index: int) -> Table:
        if not self.records:
            raise Misconfigured("has no rows; is it the right file?")
        own, header = self.records[index], [cell.strip() for cell in self.records[index].cells]
        # It stands again where files were put together, and in each sheet.
        records = [r for r in self.records[index + 1 :] if r.cells != own.cells]
        broken = [row for row in self.broken if row.line > own.line]
        return replace(self, header=header, records=records, broken=broken)


def folded(name: str) -> str:
    """A column's name as it is compared: upper and lower case, and spaces around it, are the same."""
    return name.strip().casefold()


def read(content: bytes, *, name: str, delimiter: str, encoding: str, wanted: Sequence[str] = ()) -> Table:
    """The rows of a file. ``wanted`` are the mapped columns, which identify JSON's lists.

    Raises Misconfigured, with the file's name and what to do, when the whole of it can't be read.
    """
    content = contents.unpacked(content, name)
    if contents.is_workbook(content):
        return _workbook(content, name)
    if not content.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise Misconfigured(f"the order file {name} is empty; is it the right file, and was the export complete?")
    if encoding == contents.AUTO:
        encoding = contents.encoding_of(content)
    text = contents.decoded(content, encoding)
    _check_is_rows(text, name, encoding)
    if text.lstrip()[:1] in ("{", "["):
        return _json(text, name, encoding, wanted)
    lines = list(io.StringIO(text, newline=""))
    if delimiter == contents.AUTO:
        delimiter = _delimiter_of(lines)
    return _delimited(lines, delimiter, encoding)


def _check_is_rows(text: str, name: str, encoding: str) -> None:
    start = text[:4096].lstrip()
    if start.startswith("%PDF"):
        raise Misconfigured(f"the order file {name} is a PDF; export it as CSV or as a spreadsheet")
    if start[:200].lower().startswith(("<!doctype html", "<html")):
        raise Misconfigured(f"the order file {name} is a web page; was it saved instead of the export? Export CSV")
    if start.startswith("<?xml"):
        raise Misconfigured(f"the order file {name} is XML; export it as CSV, a spreadsheet or JSON lines")
    controls = sum(character < " " and character not in "\t\r\n" for character in start)
    if controls * 10 > len(start):
        raise Misconfigured(
            f"the order file {name} is neither text in {encoding} nor a spreadsheet; export it as CSV or xlsx, or"
            " set encoding in the mapping"
        )


def _delimiter_of(lines: Sequence[str]) -> str:
    counts: Counter[str] = Counter()
    for line in lines[:HEADER_WITHIN]:
        bare = QUOTED.sub("", line)
        for delimiter in DELIMITERS:
            counts[delimiter] = max(counts[delimiter], bare.count(delimiter))
    return max(DELIMITERS, key=lambda delimiter: counts[delimiter])


def _delimited(lines: Sequence[str], delimiter: str, encoding: str) -> Table:
    records: list[Record] = []
    broken: list[Broken] = []
    rows = _split(lines) if delimiter == WHITESPACE else _csv(lines, delimiter)
    for row in rows:
        if isinstance(row, Broken):
            broken.append(row)
        else:
            records.append(row)
    form = f"text separated by {DELIMITER_NAMES.get(delimiter, repr(delimiter))}, {encoding}"
    return Table(form=form, encoding=encoding, records=records, broken=broken, lines=lines)


def _split(lines: Sequence[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if cells := line.split():
            yield Record(number, number, cells)


class _TooManyLines(Exception):
    """A record spans more lines than any can."""


class _Feed:
    """Lines for a csv reader, which must finish each record within some."""

    def __init__(self, lines: Sequence[str], start: int) -> None:
        self._lines = iter(lines[start:] if start else lines)
        self.since_record = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.since_record += 1
        if self.since_record > MOST_LINES_OF_A_RECORD:
            raise _TooManyLines
        return next(self._lines)


def _csv(lines: Sequence[str], delimiter: str) -> Iterator[Record | Broken]:
    """Records as csv reads them. Where it can't, one line is broken, and the next line starts a new record."""
    csv.field_size_limit(max(csv.field_size_limit(), max(map(len, lines), default=0) * MOST_LINES_OF_A_RECORD))
    start = 0
    while start < len(lines):
        feed = _Feed(lines, start)
        reader = csv.reader(feed, delimiter=delimiter, strict=True)
        line = start
        try:
            for cells in reader:
                end = start + reader.line_num
                feed.since_record = 0
                if any(cells) and not all(not cell.strip() for cell in cells):
                    yield Record(line + 1, end, cells)
                line = end
            return
        except _TooManyLines:
            problem = f"a quote is opened and not closed within {MOST_LINES_OF_A_RECORD:,} lines"
        except csv.Error as error:
            said = str(error)
            problem = (
                "a quote is opened and not closed"
                if "end of data" in said
                else f"quotes inside a quoted cell must be doubled ({said})"
            )
        guess = next(csv.reader((lines[line],), delimiter=delimiter), [])
        yield Broken(line + 1, problem, cells=guess)
        start = line + 1


def _workbook(content: bytes, name: str) -> Table:
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = [(title, book.get_sheet_by_name(title).to_python(skip_empty_area=False)) for title in book.sheet_names]
    except PasswordError as error:
        raise Misconfigured(f"the spreadsheet {name} has a password; save it without one") from error
    except (CalamineError, OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"the spreadsheet {name} can't be read ({error}); save it again, or export CSV") from error
    records: list[Record] = []
    head: list[str] | None = None
    used: list[str] = []
    for title, rows in sheets:
        filled = [
            (number, cells)
            for number, row in enumerate(rows, start=1)
            if any(cells := [_sheet_cell(value) for value in row])
        ]
        # A history in several sheets has the same header in each; other sheets are something else.
        if not filled or (head is not None and filled[0][1] != head):
            continue
        head = filled[0][1] if head is None else head
        used.append(title)
        records += [Record(number, number, cells, title) for number, cells in filled]
    if not records:
        raise Misconfigured(f"the spreadsheet {name} is empty; is it the right file?")
    form = f"spreadsheet, sheet{'s' if len(used) > 1 else ''} {', '.join(used)}"
    return Table(form=form, encoding="utf-8", records=records, has_typed_dates=True)


def _sheet_cell(value: Any) -> str:
    """A cell as text; a number as its spreadsheet shows it, in 15 digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return "" if value is None else str(value)


def _json(text: str, name: str, encoding: str, wanted: Sequence[str]) -> Table:
    """JSON lines, or one JSON array: an object a row; one with a list that is asked for is a row an item."""
    objects: list[tuple[int, Any]] = []
    broken: list[Broken] = []
    lines: Sequence[str] = ()
    if text.lstrip().startswith("["):
        try:
            listed = _loaded(text)
        except ValueError as error:
            raise Misconfigured(f"the order file {name} is not JSON: {error}; export it again") from error
        objects = list(enumerate(listed, start=1))
    else:
        lines = list(io.StringIO(text, newline=""))
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                objects.append((number, _loaded(line)))
            except ValueError as error:
                broken.append(Broken(number, f"the row is not JSON: {error}"))
    header: dict[str, int] = {}
    found: list[tuple[int, dict[str, str]]] = []
    for number, value in objects:
        if not isinstance(value, dict):
            broken.append(Broken(number, "the row is JSON, but not an object with names and values"))
            continue
        for row in _rows_of(value, wanted):
            found.append((number, row))
            for key in row:
                header.setdefault(key, len(header))
    records = [Record(number, number, [row.get(key, "") for key in header]) for number, row in found]
    return Table(
        form=f"JSON, {encoding}", encoding=encoding, records=records, broken=broken, header=list(header), lines=lines
    )


def _loaded(text: str) -> Any:
    """JSON with its numbers as they are written. Raises ValueError."""
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _rows_of(value: dict[str, Any], wanted: Sequence[str]) -> list[dict[str, str]]:
    lists = {
        name: items
        for name, items in value.items()
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
    }
    asked = Counter(prefix for column in wanted for prefix in lists if folded(column).startswith(folded(prefix) + "."))
    own: dict[str, str] = {}
    most = max(asked, key=lambda prefix: asked[prefix]) if asked else None
    _flatten("", {name: each for name, each in value.items() if name != most}, own)
    if most is None:
        return [own]
    rows = []
    for item in lists[most]:
        row = dict(own)
        _flatten(f"{most}.", item, row)
        rows.append(row)
    return rows


def _flatten(prefix: str, value: Any, into: dict[str, str], depth: int = 0) -> None:
    if isinstance(value, dict | list) and depth < 8:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _flatten(f"{prefix}{key}.", item, into, depth + 1)
    else:
        into[prefix.removesuffix(".")] = "" if value is None else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
