"""How a status, a diagnosis and the addresses look to people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from rich.console import Group, RenderableType
from rich.text import Text

from insights.cli.terminal_table import Column, TerminalTable
from schemas.duration import duration, largest_unit
from schemas.plural import counted

if TYPE_CHECKING:
    # Code that gathers what is shown here has these loaded; other views do not need them.
    from alerts.alert_store import Summary
    from flink.job_control import JobStatus
    from insights.canary.judge import Canaries
    from insights.dbt_results import Failure
    from insights.dbt_run import LastBuild
    from insights.doctor import Finding
    from insights.stack.process_record import Recurrence
    from insights.stack.states import PartState
    from insights.status import Status
    from reconciliation.topic_counts import TopicCounts
    from replay.publish import Published
    from warehouse.maintenance import Size, Tidied

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
BALANCE = "✓ published = counted + duplicate + late + dead   → in flight   ✗ too many"
FRESH_SECONDS, STALE_SECONDS = 10.0, 120.0
CAUGHT_UP_SECONDS = 300.0
WITH_ADDRESS = ("page", "shop", "jobmanager", "kafka", "registry", "postgres")


def unknown() -> Text:
    """What the part that is away would know."""
    return Text("?", style="red")


def number(value: int | None) -> Text:
    """12,345, or a question mark."""
    return unknown() if value is None else Text(f"{value:,}", style="" if value else "dim")


def overview(status: Status) -> RenderableType:
    """The whole status."""
    shown = [
        *([noted_lines(status.away)] if status.away else []),
        parts_table([part for part in status.parts if not part.is_task]),
        *tasks_tables([part for part in status.parts if part.is_task and part.recurring is None]),
        *recurring_tables([part for part in status.parts if part.recurring is not None]),
        topics_table(status.topics, status.replayed.restated),
        currency_line(status.currency),
        jobs_table(status.jobs),
        *([noted_lines([f"{_capitalized(status.hold.sentence)}; {status.hold.way_out}"])] if status.hold else []),
        # Without Postgres nothing is known of them.
        *([marts_line(status.marts)] if status.marts or not status.away else []),
        *([canary_line(status.canaries)] if status.canaries else []),
        *([noted_lines(status.differences)] if status.differences else []),
        tables_table(status),
        *([alerts_line(status.alerts)] if status.alerts else []),
    ]
    return Group(shown[0], *(each for table in shown[1:] for each in (Text(), table)))


def _capitalized(line: str) -> str:
    return line[:1].upper() + line[1:]


def currency_line(currency: str) -> TerminalTable:
    """In which currency the shop sells, and so every amount is."""
    sheet = TerminalTable("", Column(), Column(flows=True), gaps=(1,))
    text = f"{currency}; orders in other currencies are converted to it"
    sheet.add(Text("currency", style="bold cyan"), text)
    return sheet


def alerts_line(alerts: Summary) -> TerminalTable:
    """What fires, in one line, and whether notifications were delivered."""
    sheet = TerminalTable("", Column(), Column(flows=True), gaps=(1,))
    firing = [(alerts.critical, "critical"), (alerts.warning, "warning"), (alerts.info, "info")]
    said = [f"{count:,} {severity}" for count, severity in firing if count]
    said += [f"invalid rules: {alerts.broken:,}"] if alerts.broken else []
    said += [f"undelivered messages: {alerts.untold:,}"] if alerts.untold else []
    style = "bold red" if alerts.critical else "yellow" if said else "dim"
    if alerts.checked_at is None:
        said = ["rules not checked yet"]
    more = ". See `insights alerts list`" if style != "dim" else ""
    sheet.add(Text("alerts", style="bold cyan"), Text(f"{', '.join(said) or 'none'}{more}", style=style))
    return sheet


def noted_lines(away: Sequence[str]) -> TerminalTable:
    """What needs a look, in words: what does not answer, definitions that are not the live ones."""
    sheet = TerminalTable("", Column(), Column(flows=True), gaps=(1,))
    for line in away:
        sheet.add(Text("!", style="yellow"), Text(line, style="yellow"))
    return sheet


def parts_table(parts: Sequence[PartState]) -> TerminalTable:
    """Each process of the stack."""
    sheet = TerminalTable(
        "parts",
        *(Column(), Column(name="state", at_least=10), Column(name="MB", right=True, at_least=6)),
        *(Column(name="up for", right=True, at_least=7), Column(name="address", flows=True), Column(flows=True)),
        note=_times_note(parts, "restarted"),
    )
    for part in parts:
        memory = "" if part.memory_mb is None else f"{part.memory_mb:,.0f}"
        uptime = "" if part.uptime_seconds is None else largest_unit(part.uptime_seconds)
        sheet.add(part.name, _state(part), memory, uptime, part.endpoint, _detail(part))
    used = [part.memory_mb for part in parts if part.memory_mb is not None]
    if used:
        sheet.add(Text("total", style="dim"), "", Text(f"{sum(used):,.0f}", style="dim"))
    return sheet


def tasks_tables(tasks: Sequence[PartState]) -> Iterator[TerminalTable]:
    """Each thing that was to be done on the parts; no table before there is one."""
    sheet = TerminalTable(
        "tasks",
        *(Column(), Column(name="state", at_least=10), Column(flows=True)),
        note=_times_note(tasks, "repeated"),
    )
    for task in tasks:
        sheet.add(task.name, _state(task), _detail(task))
    if tasks:
        yield sheet


def recurring_tables(jobs: Sequence[PartState]) -> Iterator[TerminalTable]:
    """Each job that the stack repeats, when a run of it last succeeded, and why the newest one failed."""
    sheet = TerminalTable(
        "recurring",
        *(Column(), Column(name="state", at_least=10), Column(name="every", right=True)),
        *(Column(name="last success", right=True), Column(flows=True)),
    )
    for job in jobs:
        known = job.recurring
        assert known is not None
        succeeded = _utc(known.succeeded_at) if known.succeeded_at else "not yet"
        sheet.add(job.name, _state(job), duration(known.every_seconds), succeeded, _failures(known, _detail(job)))
    if jobs:
        yield sheet


def _failures(known: Recurrence, detail: Text) -> Text:
    if known.failing_since is None:
        return detail
    return Text.assemble(f"failed {counted(known.failures, 'time')} since {_utc(known.failing_since)}: ", detail)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _state(part: PartState) -> Text:
    style = "green" if part.healthy else "dim" if part.state == "stopped" else "red"
    return Text.assemble((part.state, style), (f" ×{part.restarts}" if part.restarts else "", "yellow"))


def _detail(part: PartState) -> Text:
    return Text(" ".join(part.detail.split()), style="dim" if part.healthy else "")


def _times_note(parts: Sequence[PartState], what: str) -> str:
    return f"× how many times it was {what}" if any(part.restarts for part in parts) else ""


def topics_table(topics: Mapping[str, TopicCounts], restated: Mapping[str, int] | None = None) -> TerminalTable:
    """Each topic's reconciliation, and whether it balances. ``restated``: late events counted by a restatement."""
    names = ("published", "counted", "duplicate", "late", "dead")
    since = ", ".join(f"{count:,} of {topic}" for topic, count in sorted((restated or {}).items()))
    note = f"{BALANCE}. Late, but counted by a replay: {since}." if since else BALANCE
    if any(counts.dead for counts in topics.values()):
        note += "   dead: see `insights dead-letters`"
    sheet = TerminalTable("topics", Column(), *(Column(name=name, right=True) for name in (*names, "")), note=note)
    for topic, counts in topics.items():
        sheet.add(topic, *(number(getattr(counts, name)) for name in names), balance(counts))
    return sheet


def balance(counts: TopicCounts) -> Text:
    """A mark that it comes out, how many are on their way, or how many more came out than went in."""
    left = counts.unaccounted
    if left is None:
        return unknown()
    if left == 0:
        return Text("✓", style="green")
    return Text(f"{left:,} →", style="yellow") if left > 0 else Text(f"{-left:,} ✗", style="bold red")


def jobs_table(jobs: Sequence[JobStatus]) -> TerminalTable:
    """Flink's jobs, and why one keeps failing."""
    is_failing = any(job.failing for job in jobs)
    sheet = TerminalTable(
        "jobs",
        *(Column(), Column(name="state", at_least=10), Column(name="last checkpoint", right=True)),
        Column(name="consumer lag", right=True),
        *([Column(flows=True)] if is_failing else []),
    )
    for job in jobs:
        style = "green" if job.state == "RUNNING" and not job.failing else "red"
        state = Text(job.state, style=style) if job.state else unknown()
        why = [Text(job.failing.sentence if job.failing else "", style="red")] if is_failing else []
        sheet.add(job.name, state, _checkpoint(job), number(job.lag), *why)
    if not jobs:
        sheet.add(Text("none", style="dim"))
    return sheet


def _checkpoint(job: JobStatus) -> Text:
    if job.last_checkpoint_age_seconds is not None:
        return Text(f"{duration(job.last_checkpoint_age_seconds)} ago")
    return Text("none yet", style="dim") if job.state and job.is_asked else unknown()


def marts_line(build: LastBuild | None) -> TerminalTable:
    """How the newest build of the marts went."""
    sheet = TerminalTable("marts", Column(), Column(flows=True))
    if build is None:
        sheet.add(Text("not built yet", style="dim"))
        return sheet
    counts = f"{counted(build.models, 'model')} and {counted(build.tests, 'test')} in {build.seconds:.1f} s"
    when = f"{build.ended_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    style = "green" if build.outcome == "ok" else "red"
    failed = f", {build.failures:,} failed: {build.message[:300]}" if build.outcome != "ok" else ""
    sheet.add(Text(build.outcome, style=style), Text(f"{when}, {counts}{failed}"))
    return sheet


def canary_line(canaries: Canaries) -> TerminalTable:
    """Whether the canaries' rows are right, and how long the newest took."""
    sheet = TerminalTable("canary", Column(), Column(flows=True))
    ways = ((canaries.table_seconds, "table"), (canaries.mart_seconds, "mart"))
    took = ", ".join(f"{duration(seconds)} to the {where}" for seconds, where in ways if seconds is not None)
    if canaries.wrong:
        sheet.add(Text("wrong", style="bold red"), Text(canaries.wrong))
    else:
        sheet.add(Text("ok", style="green"), Text(took))
    return sheet


def tables_table(status: Status) -> TerminalTable:
    """How fresh each table is, until when an aggregate's windows are final, and the newest replay of it."""
    newest = status.replayed.newest
    sheet = TerminalTable(
        "tables",
        Column(),
        Column(name="latest event", right=True, at_least=12),
        Column(name="final until, UTC"),
        *([Column(name="last replay")] if newest else []),
    )
    books_away = any(counts.late is None for counts in status.topics.values())
    for table, seconds in sorted(status.freshness_seconds.items(), key=lambda item: (item[0] < "live.", item[0])):
        name = table.split(".", 1)[1]
        is_final = name in status.final_until and table.startswith("live.")
        version = status.versions.get(name, 1)
        shown = table if version == 1 else f"{table} v{version}"
        if books_away:
            sheet.add(shown, unknown(), unknown() if is_final else "")
        else:
            final = _final(status.final_until[name]) if is_final else ""
            sheet.add(shown, _age(seconds), final, *([newest.get(name, "")] if newest else []))
    return sheet


def _age(seconds: float | None) -> Text:
    if seconds is None:
        return Text("no events yet", style="dim")
    style = "green" if seconds < FRESH_SECONDS else "yellow" if seconds < STALE_SECONDS else "red"
    return Text(f"{duration(seconds)} ago", style=style)


def _final(until: datetime | None) -> Text:
    return Text(f"{until.astimezone(UTC):%Y-%m-%d %H:%M}") if until else Text("not yet", style="dim")


def lake_table(tables: Mapping[str, Size]) -> TerminalTable:
    """The size of each table of the lake, by its newest snapshot."""
    columns = [Column(name=name, right=True) for name in ("files", "size", "snapshots")]
    sheet = TerminalTable("lake", Column(), *columns)
    for table, size in tables.items():
        sheet.add(table, number(size.files), megabytes(size.size_bytes), number(size.snapshots))
    return sheet


def tidied_table(tables: Sequence[Tidied], *, is_plan: bool) -> TerminalTable:
    """What was done to each table of the lake, or would be."""
    names = ("files", "size", "snapshots", "expired", "orphans")
    columns = [Column(name=name, right=True) for name in names]
    note = "Dry run: nothing was changed." if is_plan else ""
    sheet = TerminalTable("dry run" if is_plan else "lake", Column(), *columns, note=note)
    for t in tables:
        sizes = (t.before.size_bytes,) if is_plan else (t.before.size_bytes, t.after.size_bytes)
        sheet.add(
            t.table,
            *(f"{t.before.files:,} → {t.after.files:,}", " → ".join(megabytes(size) for size in sizes)),
            f"{t.before.snapshots:,} → {t.after.snapshots:,}",
            *(number(t.expired), number(t.orphans)),
        )
    return sheet


def published_table(tables: Sequence[Published]) -> TerminalTable:
    """What became of each table that is copied to the lake."""
    sheet = TerminalTable("lake", Column(), *(Column(name=name, right=True) for name in ("rows", "days")), Column())
    for t in tables:
        outcome = {"missing": "not in Postgres yet", "unchanged": "up to date"}.get(t.outcome, "copied")
        sheet.add(t.table, number(t.rows), number(t.days), outcome)
    return sheet


def megabytes(size_bytes: int) -> str:
    """``1.2 MB``."""
    return f"{size_bytes / 1e6:,.1f} MB"


def findings_table(findings: Sequence[Finding]) -> TerminalTable:
    """What the doctor found."""
    sheet = TerminalTable("", Column(), Column(flows=True), gaps=(1,))
    for finding in findings:
        mark, style = MARKS[finding.level]
        advice = f". {finding.advice}." if finding.advice else ""
        sheet.add(Text(mark, style=style), Text.assemble(finding.what, (advice, style)))
    return sheet


def failures_lines(failures: Sequence[Failure]) -> TerminalTable:
    """Each model or test that failed, dbt's words, and where its SQL is."""
    sheet = TerminalTable("", Column(), Column(flows=True), gaps=(1,))
    for failure in failures:
        where = f" (compiled SQL: {failure.compiled})" if failure.compiled else ""
        sheet.add(Text("✗", style="red"), Text(f"{failure.kind} {failure.name}: {failure.message}{where}"))
    return sheet


def addresses_table(where: Mapping[str, Any], runs: Collection[str] = WITH_ADDRESS) -> TerminalTable:
    """Where everything that runs is, and what to look at there. ``runs``: names of parts."""
    sheet = TerminalTable("addresses", Column(), Column(flows=True), Column(flows=True))
    rows = (
        ("page", "page", where["page"], "the dashboards, updated live"),
        ("shop", "shop", where["shop"], "the demo shop whose catalog is scraped"),
        ("Flink", "jobmanager", where["flink"], "the live job"),
        ("Kafka", "kafka", where["kafka"], "the event log, in Avro"),
        ("registry", "registry", where["registry"], "versions of the contracts"),
        ("Postgres", "postgres", where["postgres"], "live.* aggregates, events.* facts, ops.* operations"),
        ("lake", "", _lake_folder(where), "the raw events, as Iceberg tables"),
    )
    for name, part, address, see in rows:
        if part and part not in runs:
            continue
        sheet.add(Text(name, style="bold"), Text(address, style="cyan"), Text(see, style="dim"))
    return sheet


def _lake_folder(where: Mapping[str, Any]) -> str:
    if not where.get("lake"):
        return "-"
    warehouse: str = where["lake"]["warehouse"]
    return warehouse if warehouse.startswith("s3://") else urlparse(warehouse).path


def still_counting(until: datetime | None, now: datetime) -> str:
    """That the past is still being counted, when the newest order counted is minutes old; empty when it is not."""
    if until is None or (now - until).total_seconds() < CAUGHT_UP_SECONDS:
        return ""
    return (
        f"Orders are counted up to {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC so far. If more were published,"
        " the numbers will keep growing; `insights status` shows the progress."
    )


def what_next(page: str) -> Text:
    """What to do once everything is up."""
    return Text.assemble("Open ", (page, "cyan"), " first. Then try `make status`, and `make down` when you are done.")
