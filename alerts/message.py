"""Notifications: one message for all findings of a rule that fire, are reminded of, or are resolved at one check."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from alerts.evaluate import NOTIFIED, Alert, Transition
from alerts.rule import Rule
from schemas.duration import duration

Kind = Literal["fired", "reminded", "recovered", "test"]
MOST_FINDINGS = 50
HEADS: dict[Kind, str] = {"fired": "", "reminded": "Still firing: ", "recovered": "Resolved: ", "test": "Test: "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One finding in a message. Times are ISO 8601, UTC. ``lasted`` is how long it was there, once it is over."""

    label: str
    fingerprint: str
    text: str
    since: str
    lasted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent. ``id`` stays the same however often it is sent; ``more`` is how many findings it leaves out."""

    id: str
    kind: Kind
    rule: str
    title: str
    severity: str
    at: str
    runbook: str
    findings: tuple[Reported, ...]
    more: int = 0

    @property
    def head(self) -> str:
        """``Low stock``, ``Still firing: Low stock (3)``."""
        number = len(self.findings) + self.more
        return f"{HEADS[self.kind]}{self.title}{f' ({number})' if number > 1 else ''}"

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each finding, and one for those left out."""
        shown = [
            f"{finding.text} (resolved after {finding.lasted})" if finding.lasted else finding.text
            for finding in self.findings
        ]
        return (*shown, *([f"… and {self.more:,} more: insights alerts list"] if self.more else ()))

    @property
    def advice(self) -> str:
        """What to do; nothing once it is over."""
        return "" if self.kind == "recovered" else self.runbook

    def as_json(self) -> dict[str, Any]:
        """A plain mapping, which ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Message:
        """What ``as_json`` wrote."""
        return cls(**{**kept, "findings": tuple(Reported(**finding) for finding in kept["findings"])})


def messages(rule: Rule, changes: Sequence[Transition], now: datetime) -> tuple[Message, ...]:
    """The messages about these changes: none, or one of each kind."""
    found = []
    for change in NOTIFIED:
        alerts = [t.alert for t in changes if t.change == change]
        if alerts:
            found.append(_message(rule, change, alerts, now))
    return tuple(found)


def _message(rule: Rule, kind: Any, alerts: Sequence[Alert], now: datetime) -> Message:
    marks = "\n".join(sorted(f"{alert.fingerprint} {iso(alert.since)}" for alert in alerts))
    return Message(
        id=hashlib.sha256(f"{rule.name}\n{kind}\n{iso(now)}\n{marks}".encode()).hexdigest()[:32],
        kind=kind,
        rule=rule.name,
        title=rule.title,
        severity=rule.severity,
        at=iso(now),
        runbook=" ".join(rule.runbook.split()),
        findings=tuple(_reported(alert) for alert in alerts[:MOST_FINDINGS]),
        more=max(0, len(alerts) - MOST_FINDINGS),
    )


def _reported(alert: Alert) -> Reported:
    lasted = duration(alert.recovered_at - alert.since) if alert.recovered_at else None
    return Reported(
        label=alert.label, fingerprint=alert.fingerprint, text=alert.detail, since=iso(alert.since), lasted=lasted
    )


def trial(channel: str, now: datetime) -> Message:
    """A message marked as a test."""
    return Message(
        id=hashlib.sha256(f"test\n{channel}\n{now.isoformat()}".encode()).hexdigest()[:32],
        kind="test",
        rule="test",
        title="Insights Hub can reach you here",
        severity="info",
        at=iso(now),
        runbook="Nothing is wrong, and there is nothing to do.",
        findings=(Reported(label="", fingerprint="", text="`insights alerts test` sent this.", since=iso(now)),),
    )


def iso(at: datetime) -> str:
    """``2026-11-24T10:15:00Z``."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
