"""Evaluates a rule's result: its findings, and how each changed since the previous check. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from string import Formatter
from typing import Any, Literal

from alerts.format import shown
from alerts.rule import Empty, Freshness, Rule, Threshold, columns_in
from schemas.errors import InsightsError


class RuleBroken(InsightsError):
    """A rule can't be checked as it is written; the message names the rule, the field and what to fix."""

    def __init__(self, rule: str, field: str, problem: str) -> None:
        super().__init__(f"rule {rule}, field {field}: {problem}")
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Postgres' answer: the columns' names, and a mapping a row."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong now."""

    label: str
    text: str


class State(StrEnum):
    """Of an alert. ``pending``: there, but not for long enough. ``recovered``: was notified, and is over."""

    PENDING = "pending"
    FIRING = "firing"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is known of one rule and label; a row of ops.alerts.

    Attributes:
        since: the start of its current or latest occurrence.
        last_seen: when it was last there.
        notified_at: when it was last sent, or would have been with a channel. Reminders count from here.
        recovered_at: when it was over.
        detail: its latest text.
    """

    rule: str
    label: str
    title: str
    severity: str
    state: State
    since: datetime
    last_seen: datetime
    notified_at: datetime | None = None
    recovered_at: datetime | None = None
    detail: str = ""

    @property
    def fingerprint(self) -> str:
        """What identifies the alert among those of its rule."""
        return fingerprint(self.rule, self.label)


Change = Literal["seen", "fired", "reminded", "recovered", "forgotten"]
NOTIFIED: tuple[Change, ...] = ("fired", "reminded", "recovered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What an alert becomes; those in NOTIFIED are notified. A forgotten one never fired, and its row is deleted."""

    change: Change
    alert: Alert


def fingerprint(rule: str, label: str) -> str:
    """The same for the same rule and label, always."""
    return hashlib.sha256(f"{rule}\n{label}".encode()).hexdigest()[:16]


def evaluate(rule: Rule, answer: Answer, now: datetime, previous: Iterable[Alert]) -> tuple[Transition, ...]:
    """What becomes of the rule's alerts by this answer. Raises RuleBroken when the answer isn't what the rule needs."""
    return transitions(rule, findings(rule, answer, now), now, previous, unknown=not_known(rule, answer))


def findings(rule: Rule, answer: Answer, now: datetime) -> tuple[Finding, ...]:
    """What the rule finds in the answer, one for each label at most. Raises RuleBroken."""
    _check_columns(rule, answer)
    found: dict[str, Finding] = {}
    for row in answer.rows:
        label = _label(row)
        values = _judged(rule, label, row, now)
        if values is not None and label not in found:
            found[label] = Finding(label=label, text=_text(rule, {**row, **values, "label": label}))
    return tuple(found.values())


def not_known(rule: Rule, answer: Answer) -> frozenset[str]:
    """Labels for which the answer leaves open whether they are findings: their number or time is null."""
    return frozenset(_label(row) for row in answer.rows if any(row[column] is None for column in rule.needs))


def transitions(
    rule: Rule, found: Sequence[Finding], now: datetime, previous: Iterable[Alert], *, unknown: Container[str] = ()
) -> tuple[Transition, ...]:
    """Changes of the rule's alerts if these are all its findings; alerts that are ``unknown`` stay as they are."""
    known = {alert.label: alert for alert in previous}
    there = {finding.label for finding in found}
    gone = [alert for alert in known.values() if alert.label not in there and alert.label not in unknown]
    return (
        *(_present(rule, finding, now, known.get(finding.label)) for finding in found),
        *(t for alert in gone if (t := _absent(rule, alert, now)) is not None),
    )


def _present(rule: Rule, finding: Finding, now: datetime, before: Alert | None) -> Transition:
    if before is None or before.state == State.RECOVERED or _was_unwatched(rule, before, now):
        before = _new(rule, finding, now)
    seen = replace(before, title=rule.title, severity=rule.severity, last_seen=now, detail=finding.text)
    if seen.state == State.PENDING and now - seen.since >= rule.hold:
        return Transition(change="fired", alert=replace(seen, state=State.FIRING, notified_at=now))
    if seen.state == State.FIRING and now - (seen.notified_at or seen.since) >= rule.remind:
        return Transition(change="reminded", alert=replace(seen, notified_at=now))
    return Transition(change="seen", alert=seen)


def _new(rule: Rule, finding: Finding, now: datetime) -> Alert:
    return Alert(
        rule=rule.name,
        label=finding.label,
        title=rule.title,
        severity=rule.severity,
        state=State.PENDING,
        since=now,
        last_seen=now,
    )


def _was_unwatched(rule: Rule, before: Alert, now: datetime) -> bool:
    """No check ran for longer than its interval allows: whether the finding lasted all the time is unknown."""
    return before.state == State.PENDING and now - before.last_seen > 3 * rule.every


def _absent(rule: Rule, alert: Alert, now: datetime) -> Transition | None:
    if alert.state == State.PENDING:
        return Transition(change="forgotten", alert=alert)
    if alert.state == State.FIRING and now - alert.last_seen >= rule.clear:
        ended = replace(alert, state=State.RECOVERED, recovered_at=now, notified_at=now)
        return Transition(change="recovered", alert=ended)
    return None


def _check_columns(rule: Rule, answer: Answer) -> None:
    there = ", ".join(answer.columns)
    for column in rule.needs:
        if column not in answer.columns:
            raise RuleBroken(rule.name, "sql", f"a {rule.kind} rule needs a column {column!r}; its columns are {there}")
    known = {*answer.columns, *rule.provides}
    for name in columns_in(rule.message):
        if name not in known:
            raise RuleBroken(rule.name, "message", f"{{{name}}} is not a column of its SQL; the columns are {there}")


def _label(row: Mapping[str, Any]) -> str:
    label = row.get("label")
    return "" if label is None else str(label)


def _judged(rule: Rule, label: str, row: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """What its kind adds to the row for the message, or None when it is no finding."""
    match rule:
        case Threshold():
            value = row["value"]
            if value is None:
                return None
            if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
                raise RuleBroken(rule.name, "sql", f"its column 'value' holds {value!r}, and should hold a number")
            limit = _broken_limit(rule, Decimal(str(value)))
            return None if limit is None else {"limit": limit}
        case Freshness():
            at = row["at"]
            if at is None:
                return None
            if not isinstance(at, datetime) or at.tzinfo is None:
                raise RuleBroken(rule.name, "sql", f"its column 'at' holds {at!r}, and should hold a timestamptz")
            longest = _limit_of(rule, row)
            return {"age": now - at, "limit": longest} if now - at > longest else None
        case Empty():
            return {}


def _limit_of(rule: Freshness, row: Mapping[str, Any]) -> timedelta:
    own = row.get("limit_seconds")
    if own is None:
        return rule.limit
    if isinstance(own, bool) or not isinstance(own, int | float | Decimal):
        raise RuleBroken(rule.name, "sql", f"its column 'limit_seconds' holds {own!r}, and should hold a number")
    return timedelta(seconds=float(own))


def _broken_limit(rule: Threshold, value: Decimal) -> Decimal | None:
    if rule.above is not None and value > rule.above:
        return rule.above
    if rule.below is not None and value < rule.below:
        return rule.below
    return None


class _Words(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return str(format(value, format_spec)) if format_spec else shown(value)


def _text(rule: Rule, values: Mapping[str, Any]) -> str:
    try:
        return " ".join(_Words().vformat(rule.message, (), values).split())
    except (ValueError, TypeError, KeyError) as error:
        raise RuleBroken(rule.name, "message", f"can't be filled in: {error}") from error
