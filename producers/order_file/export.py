"""Opens an export with its mapping: a file, or several in a folder or an archive. Knows the built-in mappings."""

from __future__ import annotations

import gc
import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from producers.order_file import content as contents
from producers.order_file.mapping import ColumnMapping, load
from producers.order_file.orders import OrderFile, assembled
from producers.order_file.table import HEADER_WITHIN, Record, Table, folded
from producers.order_file.table import read as read_table
from schemas.errors import Misconfigured

READY: Final = Path(__file__).parents[1] / "mappings"
ENDINGS: Final = (".gz", ".csv", ".tsv", ".txt", ".xlsx", ".jsonl", ".json")
Parts = Mapping[str, bytes]


def ready() -> dict[str, Path]:
    """The mappings that come with the project, by name."""
    return {path.stem: path for path in sorted(READY.glob("*.toml"))}


def opened(path: Path, mapping: Path) -> OrderFile:
    """The export as its mapping reads it. Raises Misconfigured, saying which file and why, when it can't be read."""
    own = load(mapping)
    parts = _parts(path)
    name, content = _main_part(path, parts, own)
    gc.disable()  # it would look again and again through a million values of which none can go: a third of the time
    try:
        table = _table(content, name, own)
        for join in own.joins:
            other, joined = _named(path, parts, join.file)
            table = _joined(table, _table(joined, other, own), join.on, other)
        digest = hashlib.sha256(content).hexdigest()
        return assembled(table, own, digest)
    except Misconfigured as error:
        said = str(error)
        raise Misconfigured(said if name in said or "mapping" in said else f"the order file {name} {said}") from error
    finally:
        gc.enable()


def detected(path: Path) -> tuple[Path, str]:
    """The ready mapping that fits an export, and why it does. Raises Misconfigured when none does, or several do."""
    parts = _parts(path)
    found: list[tuple[int, Path, str]] = []
    for mapping_path in ready().values():
        mapping = load(mapping_path)
        if mapping.file:
            if all(_find(parts, name) for name in (mapping.file, *(join.file for join in mapping.joins))):
                found.append(
                    (1000, mapping_path, f"{path.name} contains {mapping.file} and the files that belong to it")
                )
        elif len(parts) == 1 and (held := _held(parts, mapping)):
            found.append((len(held), mapping_path, f"its header has {', '.join(held)}"))
    found.sort(key=lambda each: (-each[0], each[1]))
    if not found:
        raise Misconfigured(_nothing_fits(path, parts))
    if len(found) > 1 and found[0][0] == found[1][0]:
        names = " and ".join(each[1].stem for each in found if each[0] == found[0][0])
        raise Misconfigured(f"{path.name} may be an export of {names}; choose one with --mapping NAME")
    return found[0][1], found[0][2]


def _held(parts: Parts, mapping: ColumnMapping) -> Sequence[str]:
    """The names that the mapping is known by, when the file has all of them in one of its first rows."""
    name, content = next(iter(parts.items()))
    wanted = {folded(each) for each in mapping.detect}
    table = read_table(content, name=name, delimiter=mapping.delimiter, encoding=contents.AUTO, wanted=mapping.names())
    headers = [table.header] if table.header is not None else [row.cells for row in table.records[:HEADER_WITHIN]]
    for header in headers:
        if wanted and wanted <= {folded(cell) for cell in header}:
            return mapping.detect
    return ()


def _nothing_fits(path: Path, parts: Parts) -> str:
    names = ", ".join(ready())
    if len(parts) > 1:
        return f"no built-in mapping fits the files in {path}: {', '.join(sorted(parts))}; there are {names}"
    name, content = next(iter(parts.items()))
    table = read_table(content, name=name, delimiter=contents.AUTO, encoding=contents.AUTO)
    header = table.header or (table.records[0].cells if table.records else ())
    return (
        f"no built-in mapping fits {path.name}, whose first row has {', '.join(header)}; there are {names}. Write a"
        " mapping for its columns, as in README under Your own orders, and give it with --mapping FILE"
    )


def _parts(path: Path) -> Parts:
    """The files of an export by name: one, or those in a folder or an archive."""
    try:
        if path.is_dir():
            found = {each.name: each for each in sorted(path.iterdir()) if each.is_file() and each.name[0] != "."}
            return {name: contents.unpacked(each.read_bytes(), name) for name, each in found.items()}
        if path.stat().st_size > contents.MOST_BYTES:
            raise Misconfigured(f"the order file {path} has more than 2 GiB; split it by month or year")
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the order file {path} can't be read: {error.strerror}") from error
    if content.startswith(contents.ZIP) and not contents.is_workbook(content):
        try:
            files = contents.archived(content)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, ValueError):
            files = {}
        if len(files) > 1:
            return {PurePosixPath(name).name: contents.unpacked(each, name) for name, each in files.items()}
    return {path.name: contents.unpacked(content, path.name)}


def _main_part(path: Path, parts: Parts, mapping: ColumnMapping) -> tuple[str, bytes]:
    if mapping.file:
        return _named(path, parts, mapping.file)
    if len(parts) == 1:
        return next(iter(parts.items()))
    held = ", ".join(sorted(parts)) or "no files"
    raise Misconfigured(f"{path} holds {held}, and the mapping is of one file; name the one with the orders")


def _named(path: Path, parts: Parts, wanted: str) -> tuple[str, bytes]:
    name = _find(parts, wanted)
    if name is None:
        raise Misconfigured(
            f"the mapping's file {wanted} is not in {path}, which has {', '.join(sorted(parts))}; give the folder or"
            " archive with all files of the export"
        )
    return name, parts[name]


def _find(parts: Parts, wanted: str) -> str | None:
    return next((name for name in parts if _stem(name) == _stem(wanted)), None)


def _stem(name: str) -> str:
    while name.lower().endswith(ENDINGS):
        name = name.rpartition(".")[0]
    return name.lower()


def _table(content: bytes, name: str, mapping: ColumnMapping) -> Table:
    return read_table(
        content, name=name, delimiter=mapping.delimiter, encoding=mapping.encoding, wanted=mapping.names()
    )


def _joined(left: Table, right: Table, on: str, name: str) -> Table:
    """Each row of ``left`` with the cells of the row in ``right`` of the same value; blank ones where none has it."""
    left, right = left.with_header([on]), right.with_header([on])
    assert left.header is not None
    assert right.header is not None
    try:
        here = [folded(column) for column in left.header].index(folded(on))
        there = [folded(column) for column in right.header].index(folded(on))
    except ValueError:
        raise Misconfigured(f"the mapping joins {name} by the column {on!r}, which not both files have") from None
    known = {folded(column) for column in left.header}
    added = [place for place, column in enumerate(right.header) if folded(column) not in known]
    rows = {}
    for row in right.records:
        if there < len(row.cells):
            rows[row.cells[there]] = [row.cells[place] if place < len(row.cells) else "" for place in added]
    blank = [""] * len(added)
    width = len(left.header)
    records = []
    for row in left.records:
        cells = [*row.cells[:width], *[""] * (width - len(row.cells))]
        records.append(Record(row.line, row.last_line, [*cells, *rows.get(cells[here], blank)], row.sheet))
    return replace(left, header=[*left.header, *(right.header[place] for place in added)], records=records)
