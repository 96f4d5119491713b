"""How a status, a diagnosis and the addresses look to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from insights.doctor import Finding
from insights.stack import PartState
from insights.status import Job, Status, TopicCounts, lake_folder

UNKNOWN = Text("?", style="red")
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
FRESH_SECONDS, STALE_SECONDS = 10.0, 120.0


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold cyan", box=box.SIMPLE_HEAD, pad_edge=False)
    table.collapse_padding = True
    for name, justify in columns:
        # The first column names the row; where the terminal is narrow, the others give way.
        right, first = justify == "right", not table.columns
        table.add_column(name, justify="right" if right else "left", no_wrap=first or right, overflow="fold")
    return table


def number(value: int | None) -> Text:
    """12,345, or a question mark."""
    return UNKNOWN if value is None else Text(f"{value:,}")


def span(seconds: float | None) -> str:
    """A length of time in its two largest units: ``0.4 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // smaller)} {small_unit}"
    raise AssertionError("60 s or more always have a unit")


def overview(status: Status, now: datetime | None = None) -> RenderableType:
    """The whole status."""
    now = now or datetime.now(UTC)
    away = [Text(f"! {line}", style="yellow") for line in status.away]
    tables = [
        parts_table(status.parts),
        topics_table(status.topics),
        jobs_table(status.jobs),
        tables_table(status, now),
    ]
    return Group(*away, *(Padding(table, (1, 0, 0, 0)) for table in tables))


def parts_table(parts: Sequence[PartState]) -> Table:
    """Each process of the stack, and each thing that was to be done on it."""
    table = _table(
        "parts",
        *(("part", "left"), ("state", "left"), ("address", "left")),
        *(("memory", "right"), ("up for", "right"), ("restarts", "right"), ("", "left")),
    )
    for part in parts:
        colour = "green" if part.healthy else "red" if part.state != "stopped" else "dim"
        name = Text.assemble(("● ", colour), part.name)
        memory = "" if part.memory_mb is None else f"{part.memory_mb:,.0f} MB"
        uptime = "" if part.uptime_seconds is None else span(part.uptime_seconds)
        restarts = Text(str(part.restarts), style="yellow") if part.restarts else Text("")
        state = Text(part.state, style="" if part.healthy else colour)
        table.add_row(name, state, part.endpoint, memory, uptime, restarts, Text(part.detail, style="dim"))
    used = sum(part.memory_mb or 0 for part in parts)
    table.add_row(Text("  together", style="dim"), "", "", Text(f"{used:,.0f} MB", style="dim"), "", "", "")
    return table


def topics_table(topics: Mapping[str, TopicCounts]) -> Table:
    """Each topic's sum, and whether it comes out."""
    names = ("published", "counted", "duplicate", "late", "dead")
    table = _table(
        "topics (✓ published = counted + duplicate + late + dead)",
        *(("topic", "left"), *((name, "right") for name in names), ("", "left")),
    )
    for topic, counts in topics.items():
        table.add_row(topic, *(number(getattr(counts, name)) for name in names), balance(counts))
    return table


def balance(counts: TopicCounts) -> Text:
    """In words: it comes out, so many are on their way, or more came out than went in."""
    left = counts.unaccounted
    if left is None:
        return UNKNOWN
    if left == 0:
        return Text("✓", style="green")
    return (
        Text(f"{left:,} on their way", style="yellow") if left > 0 else Text(f"✗ {-left:,} too many", style="bold red")
    )


def jobs_table(jobs: Sequence[Job]) -> Table:
    """Flink's jobs."""
    table = _table("jobs", ("job", "left"), ("state", "left"), ("last checkpoint", "right"), ("behind", "right"))
    for job in jobs:
        style = "green" if job.state == "RUNNING" else "red"
        age = "–" if job.last_checkpoint_age_seconds is None else f"{span(job.last_checkpoint_age_seconds)} ago"
        behind = "–" if job.lag is None else f"{job.lag:,} events"
        table.add_row(job.name, Text(job.state or "not known", style=style), age, behind)
    if not jobs:
        table.add_row(Text("none", style="dim"), "", "", "")
    return table


def tables_table(status: Status, now: datetime) -> Table:
    """How fresh each table is, and until when an aggregate's windows are final."""
    table = _table("tables", ("table", "left"), ("newest event", "right"), ("final until", "left"))
    for name, seconds in sorted(status.freshness_seconds.items(), key=lambda item: (item[0] < "live.", item[0])):
        if seconds is None:
            age = Text("nothing yet", style="dim")
        else:
            style = "green" if seconds < FRESH_SECONDS else "yellow" if seconds < STALE_SECONDS else "red"
            age = Text(f"{span(seconds)} ago", style=style)
        final = status.final_until.get(name.removeprefix("live."))
        table.add_row(name, age, final.strftime("%Y-%m-%d %H:%M UTC") if final else "")
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """What the doctor found."""
    table = Table.grid(padding=(0, 1))
    for finding in findings:
        mark, style = MARKS[finding.level]
        what = Text(finding.what)
        if finding.advice:
            what.append(f". {finding.advice}.", style=style)
        table.add_row(Text(mark, style=style), what)
    return table


def addresses_table(where: Mapping[str, Any]) -> Table:
    """Where everything is, and what to look at there."""
    table = _table("where everything is", ("", "left"), ("address", "left"), ("to see", "left"))
    rows = (
        ("page", where["page"], "sales as they happen; it refreshes itself"),
        ("shop", where["shop"], "the demo shop whose catalog is scraped"),
        ("Flink", where["flink"], "the live job, its parts by name"),
        ("Kafka", where["kafka"], "the log: every event, in Avro"),
        ("registry", where["registry"], "the contracts' versions"),
        ("Postgres", where["postgres"], "live.* aggregates, events.* facts, ops.* bookkeeping"),
        ("lake", lake_folder(where), "every record as it came, as Iceberg tables"),
    )
    for name, address, see in rows:
        table.add_row(Text(name, style="bold"), Text(address, style="cyan"), Text(see, style="dim"))
    return table
