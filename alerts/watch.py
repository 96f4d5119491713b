"""The daemon's work: checks the rules that are due, records the results, sends pending messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import structlog

from alerts import alert_store
from alerts.alert_store import Check, Waiting
from alerts.channels import Channel, ChannelFailed
from alerts.evaluate import Alert, Finding, RuleBroken, Transition, findings, not_known, transitions
from alerts.message import Message, Reported, iso, messages
from alerts.postgres import STATEMENT_SECONDS, Connection, NotKnownYet, PostgresAway, ask, connect
from alerts.rule import RULES, Empty, Rule, Rules, read_rules
from schemas.duration import duration

LOG = structlog.get_logger("alerts")
AWAY_AFTER = timedelta(minutes=3)
PRUNE_EVERY = timedelta(hours=1)

# Problems of the watch itself are alerts like any other.
ITSELF = Empty.model_validate(
    {
        "name": "alerts_themselves",
        "title": "Alerting is not working properly",
        "kind": "empty",
        "sql": "select '' as problem",
        "for": "10m",
        "clear": "0s",
        "message": "{problem}",
        "runbook": "`insights alerts check` names each problem of a rule; `insights alerts test` tries each channel.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One look at one rule: what it finds, or in ``detail`` why that is not known or the rule is broken.

    ``unknown`` are labels for which that is unknown.
    """

    rule: Rule
    outcome: str
    found: tuple[Finding, ...] = ()
    unknown: frozenset[str] = frozenset()
    detail: str = ""


def look(connection: Connection, rule: Rule, now: datetime) -> Looked:
    """Evaluates one rule now, independent of earlier checks. Raises PostgresAway."""
    try:
        answer = ask(connection, rule, now)
        found = findings(rule, answer, now)
    except NotKnownYet as unknown:
        return Looked(rule=rule, outcome="not known", detail=str(unknown))
    except RuleBroken as problem:
        return Looked(rule=rule, outcome="broken", detail=str(problem))
    return Looked(rule=rule, outcome="finds" if found else "quiet", found=found, unknown=not_known(rule, answer))


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of the watch, for the daemon's health check."""

    at: datetime
    watching: bool
    problem: str = ""
    rules: int = 0
    broken: tuple[str, ...] = ()


@dataclass(slots=True)
class _Outage:
    """Postgres is away. This is kept in memory only; a restart meanwhile sends the alert again."""

    since: datetime | None = None
    message: Message | None = None
    untold: list[Channel] = field(default_factory=list)


class Watch:
    """``step`` is called every few seconds. ``clock`` gives the time.

    One process watches at a time: another one waits until the first has gone.
    """

    def __init__(
        self,
        *,
        dsn: str,
        channels: Sequence[Channel],
        rules: Path = RULES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._channels = tuple(channels)
        self._folder = rules
        self._clock = clock
        self._statement_seconds = statement_seconds
        self._store: Connection | None = None
        self._asking: Connection | None = None
        self._checked: dict[str, datetime] = {}
        self._broken: dict[str, str] = {}
        self._pruned_at: datetime | None = None
        self._outage = _Outage()
        self.health = Health(at=clock(), watching=False, problem="just started")

    def step(self) -> None:
        """Checks what is due, then sends what waits. Blocks for that. Raises nothing that it could foresee."""
        now = self._clock()
        try:
            if not self._connected():
                self.health = Health(at=now, watching=False, problem="another process is checking the rules")
                return
            self._after_outage(now)
            read = read_rules(self._folder)
            self._check(read, now)
            self._send(now)
            self._tidy(read, now)
            broken = (*read.problems, *self._broken.values())
            self.health = Health(at=now, watching=True, rules=len(read.rules), broken=broken)
        except (PostgresAway, psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._away(error, now)

    def close(self) -> None:
        """Ends the connections."""
        for connection in (self._store, self._asking):
            if connection is not None:
                connection.close()
        self._store = self._asking = None

    def _connected(self) -> bool:
        if self._store is not None and not self._store.closed:
            return True
        opened = connect(self._dsn, read_only=False)
        try:
            if not alert_store.is_there(opened):
                raise PostgresAway("Postgres has no tables for alerts yet; `insights up` makes them")
            if alert_store.take_watch(opened):
                self._asking = connect(self._dsn, read_only=True, statement_seconds=self._statement_seconds)
                self._store = opened
        finally:
            if self._store is not opened:
                opened.close()
        return self._store is opened

    def _check(self, read: Rules, now: datetime) -> None:
        for rule in read.rules:
            checked = self._checked.get(rule.name)
            if checked is None or now - checked >= rule.every:
                self._check_rule(rule, now)
                self._checked[rule.name] = now
        names = {rule.name for rule in read.rules}
        self._broken = {name: problem for name, problem in self._broken.items() if name in names}
        checked = self._checked.get(ITSELF.name)
        if checked is None or now - checked >= ITSELF.every:
            self._write(ITSELF, transitions(ITSELF, self._own_problems(read, now), now, self._known(ITSELF)), now)
            self._checked[ITSELF.name] = now

    def _check_rule(self, rule: Rule, now: datetime) -> None:
        assert self._asking is not None
        looked = look(self._asking, rule, now)
        if looked.outcome in ("quiet", "finds"):
            # A rule that can't be evaluated changes nothing: what fired before may still fire.
            became = transitions(rule, looked.found, now, self._known(rule), unknown=looked.unknown)
            self._write(rule, became, now)
        self._broken.pop(rule.name, None)
        if looked.outcome == "broken":
            LOG.warning("rule_broken", rule=rule.name, problem=looked.detail)
            self._broken[rule.name] = looked.detail
        check = Check(rule=rule.name, checked_at=now, outcome=looked.outcome, detail=looked.detail)
        alert_store.note_check(self._book, check)

    @property
    def _book(self) -> Connection:
        assert self._store is not None
        return self._store

    def _known(self, rule: Rule) -> list[Alert]:
        return alert_store.alerts_of(self._book, rule.name)

    def _write(self, rule: Rule, changes: Sequence[Transition], now: datetime) -> None:
        names = [c.name for c in self._channels if not rule.channels or c.name in rule.channels]
        queued = [(message, names) for message in messages(rule, changes, now)]
        alert_store.write(self._book, changes, queued, now)
        for message, _ in queued:
            LOG.info(message.kind, rule=rule.name, head=message.head, findings=len(message.findings) + message.more)

    def _own_problems(self, read: Rules, now: datetime) -> list[Finding]:
        rules = [*read.problems, *self._broken.values()]
        found = [Finding(label=line.split(": ")[0], text=line) for line in rules]
        for trouble in alert_store.troubles(self._book, now - timedelta(days=1)):
            if trouble.waiting:
                text = f"The channel {trouble.channel} rejects messages: {trouble.problem}"
                found.append(Finding(label=f"channel {trouble.channel}", text=text))
        return list({finding.label: finding for finding in found}.values())

    def _send(self, now: datetime) -> None:
        """Each channel independently: one that hangs delays no other, and one that fails is retried later."""
        ready = {channel.name: channel for channel in self._channels}
        while waiting := {
            name: first for name in ready if (first := next(alert_store.due(self._book, name, now), None))
        }:
            with ThreadPoolExecutor(max_workers=len(waiting)) as pool:
                sent = {pool.submit(_sent, ready[name], each.message): each for name, each in waiting.items()}
                took = [sent[done].channel for done in as_completed(sent) if self._note(sent[done], done.result())]
            ready = {name: channel for name, channel in ready.items() if name in took}

    def _note(self, sent: Waiting, problem: str | None) -> bool:
        """Writes down what became of it; whether the channel took it."""
        if problem is None:
            alert_store.note_sent(self._book, sent, self._clock())
            LOG.info("sent", channel=sent.channel, id=sent.message.id, rule=sent.message.rule)
        else:
            alert_store.note_failed(self._book, sent, problem, self._clock())
            LOG.warning("not_sent", channel=sent.channel, id=sent.message.id, problem=problem)
        return problem is None

    def _tidy(self, read: Rules, now: datetime) -> None:
        if self._pruned_at is None or now - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = now
            alert_store.prune(self._book, now)
            alert_store.give_up_others(self._book, [channel.name for channel in self._channels], now)
        if not read.problems:
            # A file that can't be read may be that of an alert's rule.
            alert_store.forget_rules(self._book, [*(rule.name for rule in read.rules), ITSELF.name], now)

    def _away(self, error: Exception, now: datetime) -> None:
        self.close()
        self.health = Health(at=now, watching=False, problem=" ".join(str(error).split()))
        outage = self._outage
        if outage.since is None:
            outage.since = now
            LOG.warning("postgres_away", problem=self.health.problem)
        if outage.message is None and now - outage.since >= AWAY_AFTER:
            outage.message = _outage_message("fired", outage.since, now)
            outage.untold = list(self._channels)
        self._tell_of_outage()

    def _after_outage(self, now: datetime) -> None:
        outage = self._outage
        if outage.since is None:
            return
        LOG.info("postgres_back", away_for=duration(now - outage.since))
        informed = [c for c in self._channels if outage.message and c not in outage.untold]
        if informed and outage.message and outage.message.kind == "fired":
            over = _outage_message("recovered", outage.since, now)
            alert_store.write(self._book, (), [(over, [channel.name for channel in informed])], now)
        self._outage = _Outage()

    def _tell_of_outage(self) -> None:
        message = self._outage.message
        if message is not None:
            self._outage.untold = [channel for channel in self._outage.untold if _sent(channel, message) is not None]


def _sent(channel: Channel, message: Message) -> str | None:
    """Sends it; why it could not, in words. A channel's defect must not stop the others."""
    try:
        channel.send(message)
    except ChannelFailed as failed:
        return str(failed)
    except Exception as error:  # its own words could hold a secret
        LOG.error("channel_defect", channel=channel.name, kind=type(error).__name__)
        return f"{type(error).__name__}, an unexpected error"
    return None


def _outage_message(kind: str, since: datetime, now: datetime) -> Message:
    return Message(
        id=f"postgres-away-{kind}-{int(since.timestamp())}",
        kind="fired" if kind == "fired" else "recovered",
        rule="postgres_away",
        title="Postgres is not responding",
        severity="critical",
        at=iso(now),
        runbook="Rules can't be checked, and numbers are stale. See `insights status`, then `insights logs postgres`."
        " More: docs/runbooks.md#postgres-is-gone-or-slow",
        findings=(
            Reported(
                label="",
                fingerprint="",
                text=f"Postgres has not responded since {iso(since)}.",
                since=iso(since),
                lasted=None if kind == "fired" else duration(now - since),
            ),
        ),
    )
