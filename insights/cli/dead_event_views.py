"""How dead letters and dead records look, to people and to programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from insights.cli.terminal_table import Column, TerminalTable
from insights.letters.ways import ADVICE, way_of
from reconciliation.dead_letters import DeadLetter
from reconciliation.dead_records import DeadRecord, DeadRecords
from reconciliation.redrives import Done, Redrive, state_of
from schemas.quoted import without_values

if TYPE_CHECKING:
    from insights.letters.causes import Cause
    from insights.letters.redrive import Report

LONGEST_VALUE = 60
MOST_HEX = 4_096
MOST_REASONS = 10
STATES = {"sending": "being redriven", "redriven": "redriven", "failed": "failed again", "asked": "asked for again"}
OUTCOMES = {
    "redriven": "{would}published",
    "before": "redriven before; skipped",
    "failed": "rejected again: ",
    "unfinished": "skipped: ",
    "asked": "of a connected shop: the order {will} read again from the shop, where it has to be correct",
    "waiting": "of a connected shop: the order waits to be read again; skipped",
    "shop": "of a shop, which alone publishes them: correct them there; the next reading brings them",
    "file": "rows of an order file: correct the file, and import it again",
    "page": "pages: correct the page; the scraper publishes it once it can be read",
    "gone": "erased, or older than dead letters are kept: they can't be redriven",
}
GET_AT = (
    "A record stays on its topic until retention removes it. The bytes of an unreadable one are in the"
    " column `value` of ops.dead_records, and in --json as base64; all others are also in the lake."
)


def letters_table(letters: Sequence[DeadLetter], done: Done) -> TerminalTable:
    """Each dead letter, with the values needed to fix it, and whether it is open."""
    sheet = TerminalTable(
        "dead letters",
        *(Column(), Column(name="since"), Column(name="state"), Column(name="intended topic")),
        *(Column(name="column"), Column(name="value")),
        Column(name="position and reason", flows=True),
    )
    for letter in letters:
        headers = letter.headers
        reason = _line(headers.get("exception.message", letter.reason))
        sheet.add(
            f"{letter.offset:,}",
            f"{letter.dead_at:%Y-%m-%d %H:%M:%S}",
            STATES[row.state] if (row := state_of(letter, done)) else "open",
            _line(letter.topic),
            _line(headers.get("column", "")),
            _line(headers.get("value", ""))[:LONGEST_VALUE],
            f"{_line(letter.place)}: {reason}" if letter.place else reason,
        )
    return sheet


def records_tables(records: DeadRecords) -> Group:
    """How many there are for each reason, the newest one by one, and how to get at them."""
    number, newest_at = Column(name="records", right=True), Column(name="latest, UTC")
    reasons = TerminalTable("dead records", number, newest_at, Column(name="topic"), Column(name="why", flows=True))
    for each in records.reasons:
        reasons.add(f"{each.records:,}", f"{each.newest_at:%Y-%m-%d %H:%M:%S}", each.topic, _line(each.reason))
    one_by_one = TerminalTable(
        "latest dead records",
        *(Column(name="published, UTC"), Column(name="topic"), Column(name="partition", right=True)),
        *(Column(name="offset", right=True), Column(name="why", flows=True)),
        note=GET_AT,
    )
    for record in records.newest:
        one_by_one.add(
            f"{record.published_at:%Y-%m-%d %H:%M:%S}",
            *(record.topic, str(record.partition), str(record.offset)),
            f"{'unreadable' if record.is_unreadable else 'not counted'}: {_line(record.reason)}",
        )
    return Group(reasons, Text(), one_by_one)


def letter_whole(letter: DeadLetter, row: Redrive | None) -> Group:
    """One letter: what it says of itself, its bytes, what was done, and what to do."""
    said = [("offset", f"{letter.offset:,}"), ("since", f"{letter.dead_at:%Y-%m-%d %H:%M:%S} UTC")]
    said += [("position", _line(letter.place))] if letter.place else []
    said += [(_line(name), _line(text)) for name, text in sorted(letter.headers.items())]
    if row is not None:
        recipe = f" with the recipe {row.recipe}" if row.recipe else ""
        said.append(("state", f"{STATES[row.state]}, {row.at:%Y-%m-%d %H:%M:%S} UTC, by {row.by}{recipe}"))
        said += [(name, text) for name, text in (("event id", row.event_id), ("refused again", row.reason)) if text]
    else:
        said.append(("state", "open"))
    sheet = TerminalTable("dead letter", Column(), Column(flows=True))
    for name, text in said:
        sheet.add(name, text)
    return Group(
        sheet,
        Text(),
        Text(f"{len(letter.value):,} bytes", style="bold"),
        Text(readable_bytes(letter.value)),
        Text(),
        Text.assemble(("how to fix: ", "bold"), ADVICE[way_of(letter)]),
    )


def readable_bytes(value: bytes) -> str:
    """JSON on lines of its own; another text as it is, without what would steer a terminal; else hexadecimal."""
    try:
        return _steady(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        pass
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "\n".join(
            f"{at:08x}  {value[at : at + 16].hex(' ')}" for at in range(0, min(len(value), MOST_HEX), 16)
        ) + ("\n… (--json prints all of it)" if len(value) > MOST_HEX else "")
    return _steady(text)


def _steady(text: str) -> str:
    """The text without what steers a terminal or turns the order of its letters: escapes stand for it."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


def causes_table(causes: Sequence[Cause]) -> TerminalTable:
    """A row per cause, those with most open letters first."""
    sheet = TerminalTable(
        "dead letters by cause",
        *(Column(), Column(name="open", right=True), Column(name="all", right=True)),
        *(Column(name="redriven", right=True), Column(name="failed again", right=True)),
        *(Column(name="of published", right=True), Column(name="reason and how to fix", flows=True)),
        note=f"`insights dead-letters show {causes[0].example}` prints letter {causes[0].example} with its bytes."
        if causes
        else "",
    )
    for each in causes:
        source = f"{_line(each.source)}: " if each.source else ""
        times = f"From {each.first:%Y-%m-%d %H:%M} to {each.last:%Y-%m-%d %H:%M} UTC, for example letter {each.example}"
        sheet.add(
            _line(each.topic) or "unknown",
            *(f"{number:,}" for number in (each.open, each.letters, each.redriven, each.failed)),
            "" if each.share is None else f"{each.share:.2%}",
            f"{source}{_line(each.reason).rstrip('.')}. {times}. Fix: {each.advice}.",
        )
    return sheet


def report_table(report: Report, *, is_dry: bool) -> TerminalTable:
    """What a run did, and an example of each reason, whose values `insights dead-letters show` prints."""
    sheet = TerminalTable(
        "a dry run: nothing was published" if is_dry else "redriven",
        Column(),
        *(Column(name="letters", right=True), Column(name="example", right=True), Column(name="outcome", flows=True)),
    )
    for what, number in report.counts.most_common():
        reasons = [each for (of, _), each in report.examples.items() if of == what]
        for n, each in enumerate(reasons[:MOST_REASONS]):
            said = OUTCOMES[what].format(would="would be " if is_dry else "", will="would be" if is_dry else "is")
            sheet.add(
                "", f"{number:,}" if n == 0 else "", str(each.offset), f"{said}{_line(without_values(each.reason))}"
            )
    return sheet


def as_json(letters: Sequence[DeadLetter], records: Sequence[DeadRecord], done: Done) -> list[dict[str, Any]]:
    """Letters with all their headers, then records; ``dead`` is which of the two, ``state`` a letter's."""
    return [
        *(
            {
                **each.headers,
                "dead": "letter",
                "offset": each.offset,
                "dead_at": each.dead_at.isoformat(),
                "state": row.state if (row := state_of(each, done)) else "open",
                "redriven_as": row.event_id if row else None,
                "source_partition": each.source_partition,
                "source_offset": each.source_offset,
                "value_base64": base64.b64encode(each.value).decode(),
            }
            for each in letters
        ),
        *map(_record_as_json, records),
    ]


def _record_as_json(record: DeadRecord) -> dict[str, Any]:
    return {
        "dead": "record",
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "dead_at": record.published_at.isoformat(),
        "exception.message": record.reason,
        "is_unreadable": record.is_unreadable,
        "value_base64": None if record.value is None else base64.b64encode(record.value).decode(),
    }


def _line(text: str) -> str:
    return _steady(" ".join(text.split()))
