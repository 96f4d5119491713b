"""How dead letters and dead records look, to people and to programs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from insights.cli.terminal_table import Column, TerminalTable
from reconciliation.dead_letters import DeadLetter
from reconciliation.dead_records import DeadRecord, DeadRecords

LONGEST_VALUE = 60
GET_AT = (
    "A record stays on its topic until retention removes it. The bytes of an unreadable one are in the"
    " column `value` of ops.dead_records, and in --json as base64; all others are also in the lake."
)


def letters_table(letters: Sequence[DeadLetter]) -> TerminalTable:
    """Each dead letter, with the values needed to fix it."""
    sheet = TerminalTable(
        "dead letters",
        *(Column(), Column(name="since"), Column(name="intended topic"), Column(name="column"), Column(name="value")),
        Column(name="position and reason", flows=True),
    )
    for letter in letters:
        headers = letter.headers
        reason = _line(headers.get("exception.message", letter.reason))
        sheet.add(
            f"{letter.offset:,}",
            f"{letter.dead_at:%Y-%m-%d %H:%M:%S}",
            letter.topic,
            headers.get("column", ""),
            _line(headers.get("value", ""))[:LONGEST_VALUE],
            f"{letter.place}: {reason}" if letter.place else reason,
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


def as_json(letters: Sequence[DeadLetter], records: Sequence[DeadRecord]) -> list[dict[str, Any]]:
    """Letters with all their headers, then records; ``dead`` is which of the two."""
    return [
        *(
            {
                "dead": "letter",
                "offset": each.offset,
                "dead_at": each.dead_at.isoformat(),
                **each.headers,
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
    return " ".join(text.split())
