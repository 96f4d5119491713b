"""What a rule's answer makes of its alerts, check after check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alerts.evaluate import Alert, Answer, RuleBroken, State, evaluate, findings, fingerprint
from alerts.message import MOST_FINDINGS, Message, messages
from alerts.rule import Rule
from tests.alerts.made_rules import rule

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def answer(*rows: Mapping[str, Any], columns: Sequence[str] = ("label",)) -> Answer:
    return Answer(columns=tuple(rows[0]) if rows else tuple(columns), rows=rows)


class Told:
    """One rule, check after check, as the daemon does it: what was sent at each."""

    def __init__(self, checked: Rule) -> None:
        self.rule = checked
        self.alerts: dict[str, Alert] = {}

    def check(self, minute: float, *labels: str) -> list[str]:
        return self.check_answer(minute, answer(*({"label": label} for label in labels)))

    def check_answer(self, minute: float, said: Answer) -> list[str]:
        now = NOON + timedelta(minutes=minute)
        changes = evaluate(self.rule, said, now, self.alerts.values())
        for change in changes:
            if change.change == "forgotten":
                del self.alerts[change.alert.label]
            else:
                self.alerts[change.alert.label] = change.alert
        return [f"{m.kind} {' '.join(told.label for told in m.findings)}" for m in messages(self.rule, changes, now)]


def test_a_finding_is_notified_once_and_again_when_it_is_over(tmp_path: Path) -> None:
    told = Told(rule(tmp_path))
    assert told.check(0) == []
    assert told.check(1, "helmets") == ["fired helmets"]
    assert told.check(2, "helmets") == []
    assert told.check(3, "helmets", "locks") == ["fired locks"]
    assert told.check(4, "locks") == ["recovered helmets"]
    assert told.check(5, "locks") == []
    assert told.check(6) == ["recovered locks"]
    assert told.check(7) == []


def test_an_alert_whose_number_is_not_known_any_more_stays_until_it_is(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, kind="threshold", message="{label}: {value} (limit: {limit})", above=10))
    numbers = [answer({"label": "helmets", "value": value}) for value in (11, None, None, 11, None, 9)]
    assert [told.check_answer(minute, said) for minute, said in enumerate(numbers)] == [
        *(["fired helmets"], [], [], [], []),
        ["recovered helmets"],
    ]


def test_it_must_hold_for_its_time_before_it_fires(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, **{"for": "3 checks"}))
    assert [told.check(minute, "helmets") for minute in range(4)] == [[], [], ["fired helmets"], []]


def test_one_that_comes_and_goes_is_never_notified(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, **{"for": "3m"}))
    for minute in range(60):
        assert told.check(minute, *(["helmets"] if minute % 3 else [])) == []
    assert told.alerts.keys() <= {"helmets"}


def test_one_that_fires_and_is_briefly_gone_is_not_reported_as_over(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, **{"for": "3m"}))
    assert [told.check(minute, "helmets") for minute in range(4)][-1] == ["fired helmets"]
    assert [told.check(4), told.check(5), told.check(6, "helmets"), told.check(7), told.check(8)] == [[]] * 5
    assert told.check(9) == ["recovered helmets"]


def test_what_nobody_watched_has_not_held(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, **{"for": "10m"}))
    told.check(0, "helmets")
    # The daemon was down for an hour: whether it was there all the time is not known.
    assert told.check(60, "helmets") == []
    assert told.alerts["helmets"].since == NOON + timedelta(minutes=60)


def test_one_that_goes_on_is_reminded_of_after_its_time_and_not_before(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, remind="1h"))
    said = {minute: found for minute in range(0, 181) if (found := told.check(minute, "helmets"))}
    assert said == {0: ["fired helmets"], **{m: ["reminded helmets"] for m in (60, 120, 180)}}


def test_one_that_comes_again_is_a_new_one(tmp_path: Path) -> None:
    told = Told(rule(tmp_path))
    assert [told.check(0, "helmets"), told.check(1), told.check(2, "helmets")] == [
        *(["fired helmets"], ["recovered helmets"], ["fired helmets"])
    ]
    alert = told.alerts["helmets"]
    assert (alert.since, alert.recovered_at) == (NOON + timedelta(minutes=2), None)


def test_a_fingerprint_goes_by_rule_and_label_alone() -> None:
    assert fingerprint("a", "b") == fingerprint("a", "b")
    assert len({fingerprint("a", "b"), fingerprint("b", "a"), fingerprint("a", ""), fingerprint("ab", "")}) == 4


def test_many_findings_at_once_are_one_message_with_the_number_it_omits(tmp_path: Path) -> None:
    checked = rule(tmp_path)
    rows = [{"label": f"p{number:03d}"} for number in range(MOST_FINDINGS + 7)]
    (message,) = messages(checked, evaluate(checked, answer(*rows), NOON, ()), NOON)
    assert (len(message.findings), message.more) == (MOST_FINDINGS, 7)
    assert message.head == f"Shelves are empty ({MOST_FINDINGS + 7})"
    assert message.lines[-1] == "… and 7 more: insights alerts list"


def test_a_message_survives_being_kept_as_json(tmp_path: Path) -> None:
    checked = rule(tmp_path)
    for message in messages(checked, evaluate(checked, answer({"label": "a"}), NOON, ()), NOON):
        assert Message.from_json(message.as_json()) == message


def test_one_that_is_over_shows_how_long_it_lasted_and_no_advice(tmp_path: Path) -> None:
    told = Told(rule(tmp_path, **{"for": "0s"}))
    told.check(0, "helmets")
    changes = evaluate(told.rule, answer(), NOON + timedelta(minutes=95), told.alerts.values())
    (message,) = messages(told.rule, changes, NOON + timedelta(minutes=95))
    assert message.head == "Resolved: Shelves are empty"
    assert message.lines == ("helmets is out (resolved after 1 h 35 min)",)
    assert message.advice == ""


@pytest.mark.parametrize(
    ("limits", "value", "is_found"),
    [
        ({"above": 10}, 10, False),
        ({"above": 10}, Decimal("10.000001"), True),
        ({"below": 7}, 7, False),
        ({"below": 7}, 6.99, True),
        ({"below": 0, "above": 1}, -1, True),
        ({"below": 0, "above": 1}, 2, True),
        ({"below": 0, "above": 1}, Decimal("0.5"), False),
        ({"above": 10}, None, False),
    ],
)
def test_a_number_beyond_its_limit_is_a_finding_and_one_that_is_not_known_is_none(
    tmp_path: Path, limits: dict[str, Any], value: Any, is_found: bool
) -> None:
    checked = rule(tmp_path, kind="threshold", message="{label}: {value} (limit: {limit})", **limits)
    assert bool(findings(checked, answer({"label": "helmets", "value": value}), NOON)) is is_found


def test_each_label_of_a_freshness_rule_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    checked = rule(tmp_path, kind="freshness", limit="1h", message="{label}: {age} ago (limit: {limit})")
    own = {"fast": None, "slow": 86_400}
    rows = [{"label": n, "at": NOON - timedelta(minutes=90), "limit_seconds": own[n]} for n in own]
    rows += [{"label": "new", "at": NOON - timedelta(minutes=60)}, {"label": "never", "at": None}]
    assert [f.text for f in findings(checked, answer(*rows), NOON)] == ["fast: 1 h 30 min ago (limit: 1 h)"]


def test_a_limit_that_is_no_number_is_reported_with_its_column(tmp_path: Path) -> None:
    checked = rule(tmp_path, kind="freshness", limit="1h", message="{label}")
    row = {"label": "slow", "at": NOON, "limit_seconds": "a day"}
    with pytest.raises(RuleBroken, match="'limit_seconds' holds 'a day', and should hold a number"):
        findings(checked, answer(row), NOON)


def test_values_are_written_for_people(tmp_path: Path) -> None:
    checked = rule(tmp_path, message="{a} {b} {c} {d} {e} {f:.1f} {{x}}", sql="select 1")
    row = {
        "label": None,
        "a": 12345,
        "b": Decimal("0.350000"),
        "c": Decimal("10.50"),
        "d": datetime(2026, 11, 24, 9, 5, 59, tzinfo=UTC),
        "e": None,
        "f": Decimal("2.25"),
    }
    (found,) = findings(checked, answer(row), NOON)
    assert (found.label, found.text) == ("", "12,345 0.35 10.50 2026-11-24 09:05 UTC unknown 2.2 {x}")


def test_two_rows_of_one_label_are_one_finding_and_the_first_is_sent(tmp_path: Path) -> None:
    checked = rule(tmp_path, message="{label} {n}")
    found = findings(checked, answer({"label": "a", "n": 1}, {"label": "a", "n": 2}), NOON)
    assert [f.text for f in found] == ["a 1"]


@pytest.mark.parametrize(
    ("words", "row", "field", "said"),
    [
        ({"message": "{naem}"}, {"label": "a"}, "message", "{naem} is not a column of its SQL; the columns are label"),
        ({"kind": "threshold", "above": 1}, {"label": "a"}, "sql", "a threshold rule needs a column 'value'"),
        ({"kind": "freshness", "limit": "1h"}, {"label": "a"}, "sql", "a freshness rule needs a column 'at'"),
        ({"kind": "threshold", "above": 1}, {"value": "many", "label": ""}, "sql", "should hold a number"),
        ({"kind": "threshold", "above": 1}, {"value": True, "label": ""}, "sql", "should hold a number"),
        ({"kind": "freshness", "limit": "1h"}, {"at": "noon", "label": ""}, "sql", "should hold a timestamptz"),
        (
            {"kind": "freshness", "limit": "1h"},
            {"at": datetime(2026, 1, 1), "label": ""},
            "sql",
            "should hold a timestamptz",
        ),
        ({"message": "{label:.2f}"}, {"label": "a"}, "message", "can't be filled in"),
    ],
)
def test_an_answer_that_does_not_fit_the_rule_is_reported_with_rule_and_field(
    tmp_path: Path, words: dict[str, Any], row: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(RuleBroken) as caught:
        findings(rule(tmp_path, **words), answer(row), NOON)
    assert str(caught.value).startswith(f"rule shelves, field {field}: ")
    assert said in str(caught.value)


def test_columns_are_looked_at_while_there_are_no_rows(tmp_path: Path) -> None:
    with pytest.raises(RuleBroken, match="field message"):
        findings(rule(tmp_path, message="{naem}"), answer(columns=("label", "name")), NOON)


def test_a_notified_alert_stays_open_while_its_text_changes(tmp_path: Path) -> None:
    checked = rule(tmp_path, message="{label}: {n}")
    first = evaluate(checked, answer({"label": "a", "n": 1}), NOON, ())
    (again,) = evaluate(checked, answer({"label": "a", "n": 2}), NOON + timedelta(minutes=1), [first[0].alert])
    assert (again.change, again.alert.state, again.alert.detail) == ("seen", State.FIRING, "a: 2")
    assert again.alert.since == NOON
