"""How dead letters, their causes and what a run did are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from insights.cli import dead_event_views as views
from insights.cli.runtime import endless
from insights.letters.causes import by_cause
from insights.letters.redrive import Report
from tests.letters.world import SPEND, TEXTS, WEB, World, letter, web


def shown(what: Any) -> str:
    with endless.capture() as text:
        endless.print(what)
    return " ".join(text.get().split())


def test_what_a_run_did_is_shown_with_an_example_of_each_reason() -> None:
    world, report = World(), Report()
    for outcome in world.run([web(1), web(2), web(7, page=...), web(8, interaction="bought")], recipe=TEXTS):
        report.take(outcome)
    said = shown(views.report_table(report, is_dry=False))
    assert "2 1 published" in said
    assert "2 7 rejected again: page: is missing" in said
    assert "8 rejected again: interaction: Invalid enum value …" in said
    assert "bought" not in said
    assert "1 would be published" in shown(views.report_table(report, is_dry=True))


def test_causes_and_a_whole_letter_are_shown_with_how_to_fix_them() -> None:
    world = World()
    letters = [web(1), letter(2, SPEND, {"a": 1}, error="x.BadValue", source="ads")]
    world.run(letters, recipe=TEXTS)
    said = shown(views.causes_table(by_cause(letters, world.rows, {WEB: 4})))
    assert "web.interaction.v1 0 1 1 0 25.00% bikes: product_id: Expected …, got …. From 2026-11-27 09:00" in said
    assert "for example letter 1. Fix: write a recipe" in said
    whole = shown(views.letter_whole(letters[0], world.rows[1]))
    for part in ("redriven, 2026-11-27 09:01:00 UTC, by anna with the recipe texts", world.ids[0], '"page": "/p"'):
        assert part in whole
    assert "how to fix: write a recipe" in whole
    assert "state open" in shown(views.letter_whole(letters[1], None))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"a":"\xc3\xbc"}', '{\n  "a": "ü"\n}'),
        (b"a\tb\x1b[31m", "a\tb\\x1b[31m"),
        (b"\xff\x00", "00000000  ff 00"),
        (b'{"a":"\\ud800\\u001b[2J"}', '{\n  "a": "\\ud800\\u001b[2J"\n}'),
        ('{"a":"\u009b2J\u007f\u202e"}'.encode(), '{\n  "a": "\\x9b2J\\x7f\\u202e"\n}'),
        (b"", ""),
    ],
)
def test_bytes_are_shown_so_that_a_person_can_read_them_and_none_steers_the_terminal(value: bytes, text: str) -> None:
    assert views.readable_bytes(value) == text


def test_of_many_bytes_that_are_no_text_the_first_are_shown() -> None:
    assert views.readable_bytes(b"\xff" * 5_000).endswith("ff ff\n… (--json prints all of it)")


def test_no_header_steers_the_terminal_or_stands_for_what_is_the_letters_own() -> None:
    said_by_it = {
        "column": "a\x1b[2J\u202eb",
        "state": "redriven",
        "offset": "3",
        "dead": "record",
        "file": "\x9b1m.csv",
    }
    steered = replace(letter(7, WEB, {}), headers=said_by_it)
    for what in (views.letter_whole(steered, None), views.letters_table([steered], {})):
        assert not {"\x1b", "\x9b", "\u202e"} & set(shown(what))
    assert "a\\x1b[2J\\u202eb" in shown(views.letter_whole(steered, None))
    (said,) = views.as_json([steered], [], {})
    assert (said["offset"], said["state"], said["dead"]) == (7, "open", "letter")
