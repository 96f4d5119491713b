from __future__ import annotations

import re

import pytest

from insights.settings import PROJECT
from schemas.plural import counted

COUNTABLE = (
    "order|row|event|record|file|table|window|day|line|page|letter|product|model|test|topic|contract|message|refund"
    "|snapshot|alert|sitemap|duplicate|minute"
)
# A number that is put into a text, and after it a plural that stands whatever the number is.
ALWAYS_MANY = re.compile(rf'\{{[^{{}}"]*:,\}} (?:more )?(?:{COUNTABLE})s\b')
# None of these is ever one: a limit or a size.
NEVER_ONE = re.compile(r"MOST_|most_bytes|LARGEST|LONGEST|size_bytes|max_bytes")
FOLDERS = (
    "aggregates",
    "alerts",
    "dashboards",
    "flink",
    "insights",
    "processes",
    "producers",
    "reconciliation",
    "replay",
    "schemas",
    "warehouse",
)


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("order",), "0 orders"),
        (1, ("order",), "1 order"),
        (2, ("order",), "2 orders"),
        (-1, ("unit",), "-1 unit"),
        (12_345, ("row",), "12,345 rows"),
        (1, ("entry", "entries"), "1 entry"),
        (3, ("entry", "entries"), "3 entries"),
        (1, ("row was", "rows were"), "1 row was"),
    ],
)
def test_a_number_and_its_noun_agree(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


def test_no_message_has_a_plural_that_stands_whatever_the_number_is() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for folder in FOLDERS
        for path in sorted((PROJECT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ALWAYS_MANY.search(line) and not NEVER_ONE.search(line)
    ]
    assert found == []
