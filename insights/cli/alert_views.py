"""How alerts look to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from alerts.alert_store import Check, Trouble
from alerts.channels import Channel
from alerts.evaluate import Alert, State
from alerts.rule import Rules
from alerts.watch import Looked
from insights.cli.status_views import noted_lines
from insights.cli.terminal_table import Column, TerminalTable
from schemas.duration import duration

STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
OUTCOMES = {
    "quiet": ("✓", "green"),
    "finds": ("!", "yellow"),
    "not known": ("·", "dim"),
    "broken": ("✗", "red"),
}
MOST_LINES = 10


def looked_table(looked: Sequence[Looked]) -> TerminalTable:
    """What each rule finds now; the first ten lines of it."""
    sheet = TerminalTable(
        "rules",
        Column(),
        Column(),
        Column(flows=True),
        note="✓ quiet   ! finds something   · not checked yet   ✗ invalid",
    )
    for each in looked:
        mark, style = OUTCOMES[each.outcome]
        sheet.add(each.rule.name, Text(mark, style=style), Text(each.detail, style="dim" if style == "dim" else "red"))
        severity = STYLES[each.rule.severity]
        for finding in each.found[:MOST_LINES]:
            sheet.add("", Text(each.rule.severity, style=severity), finding.text)
        if len(each.found) > MOST_LINES:
            sheet.add("", "", Text(f"… and {len(each.found) - MOST_LINES:,} more", style="dim"))
    return sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What `insights alerts list` shows."""

    now: datetime
    rules: Rules
    checks: Mapping[str, Check]
    open: Sequence[Alert]
    recovered: Sequence[Alert]
    troubles: Sequence[Trouble]
    channels: Sequence[Channel]


def known_tables(known: Known) -> RenderableType:
    """Problems first, then open alerts, rules, channels."""
    shown: list[RenderableType] = [
        *([noted_lines(known.rules.problems)] if known.rules.problems else []),
        _open_table(known),
        _rules_table(known),
        _channels_table(known),
    ]
    return Group(shown[0], *(each for table in shown[1:] for each in (Text(), table)))


def _open_table(known: Known) -> TerminalTable:
    sheet = TerminalTable("alerts", Column(), Column(name="state"), Column(name="for", right=True), Column(flows=True))
    shown: Counter[tuple[str, State]] = Counter()
    for alert in [*known.open, *known.recovered]:
        shown[alert.rule, alert.state] += 1
        if shown[alert.rule, alert.state] > MOST_LINES:
            continue
        style = STYLES.get(alert.severity, "")
        if alert.state == State.FIRING:
            state = Text(alert.severity, style=style)
        else:
            state = Text("not yet" if alert.state == State.PENDING else "over", style="dim")
        ended = alert.recovered_at or known.now
        sheet.add(alert.rule, state, duration(ended - alert.since), alert.detail)
    for (rule, of), number in shown.items():
        if number > MOST_LINES:
            sheet.add(
                rule,
                Text(of.value, style="dim"),
                "",
                Text(f"… and {number - MOST_LINES:,} more on the Operations page", style="dim"),
            )
    if not known.open and not known.recovered:
        advice = "" if known.checks else "not checked yet: the running stack checks the rules"
        sheet.add(Text("none", style="dim"), "", "", Text(advice, style="dim"))
    return sheet


def _rules_table(known: Known) -> TerminalTable:
    sheet = TerminalTable("rules", Column(), Column(), Column(name="checked", right=True), Column(flows=True))
    for rule in known.rules.rules:
        found = known.checks.get(rule.name)
        mark, style = OUTCOMES[found.outcome] if found else ("", "dim")
        ago = f"{duration(known.now - found.checked_at)} ago" if found else "never"
        sheet.add(rule.name, Text(mark, style=style), ago, (found and found.detail) or Text(rule.title, style="dim"))
    return sheet


def _channels_table(known: Known) -> TerminalTable:
    sheet = TerminalTable("channels", Column(), Column(), Column(flows=True))
    troubles = {trouble.channel: trouble for trouble in known.troubles}
    for channel in known.channels:
        trouble = troubles.get(channel.name)
        if trouble is None:
            sheet.add(channel.name, Text("✓", style="green"), channel.where)
        else:
            waits = f"{trouble.waiting:,} undelivered for {duration(known.now - trouble.since)}"
            left = f"{waits}, {trouble.given_up:,} given up"
            sheet.add(channel.name, Text("✗", style="red"), Text(f"{left}: {trouble.problem}", style="red"))
    if not known.channels:
        advice = "none: alerts are recorded and shown, but not sent (docs/alerts.md)"
        sheet.add(Text("none", style="dim"), "", Text(advice, style="dim"))
    return sheet
