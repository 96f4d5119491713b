"""What people see, at the widths that terminals have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from aggregates.catalogue import aggregates
from flink.health import Failing
from flink.job_control import JobStatus
from insights.cli import runtime, status_views
from insights.doctor import Finding
from insights.settings import Settings
from insights.stack import PartState
from insights.stack.process_record import Recurrence
from insights.status import Status, endpoints
from reconciliation.topic_counts import Replayed, TopicCounts
from schemas.catalogue import events

SETTINGS = Settings(home=Path("/srv/shops/insights-hub/.insights"))
WIDTHS = (60, 80, 100, 160)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
JOB_ID = "ec7b53095a8d4b3c9f0e1d2c3b4a5968"
REFUSED = f"Flink's JobManager at {SETTINGS.flink_url} did not answer (Connection refused); see `insights status`"
NOT_TAKEN = (
    "Flink rejected the job: org.apache.flink.table.api.ValidationException: there is no sink of that name"
    f" (full output: {SETTINGS.home}/flink/client/submit.log)"
)


def part(name: str, endpoint: str = "", **more: Any) -> PartState:
    running = {"state": "running", "healthy": True, "detail": "", "pid": 4711, "memory_mb": 1512.0}
    rest = {"uptime_seconds": 86399.0, "restarts": 0, "is_task": False}
    return PartState(name=name, endpoint=endpoint, **(running | rest | more))


def ill(name: str, endpoint: str, state: str, detail: str, restarts: int = 0) -> PartState:
    gone = {"pid": None, "memory_mb": None, "uptime_seconds": None, "healthy": False}
    return part(name, endpoint, state=state, detail=detail, restarts=restarts, **gone)


def task(name: str, detail: str, state: str = "done", restarts: int = 0) -> PartState:
    nothing = {"pid": None, "memory_mb": None, "uptime_seconds": None, "is_task": True}
    return part(name, detail=detail, state=state, healthy=state == "done", restarts=restarts, **nothing)


LONG_AGO = NOW.timestamp()
UTC_THEN = f"{NOW:%Y-%m-%d %H:%M:%S} UTC"


def recurring(name: str, detail: str, failing_since: float | None = None) -> PartState:
    known = Recurrence(every_seconds=60.0, began_at=LONG_AGO, succeeded_at=LONG_AGO, failing_since=failing_since)
    return replace(task(name, detail, "failed" if failing_since else "running"), healthy=True, recurring=known)


WELL = (
    *(part("supervisor"), part("postgres", "127.0.0.1:19432"), part("kafka", str(SETTINGS.kafka))),
    *(part("registry", SETTINGS.registry_url), part("jobmanager", SETTINGS.flink_url)),
    *(part("taskmanager", "2048 MB at most"), task("topics", "0 created, 9 existed")),
    *(task("contracts", "8 contracts registered"), task("tables", "Postgres and lake tables are ready")),
    *(task("job", f"runs as {JOB_ID}"), recurring("finality", "kept in ops.finality"), part("page", SETTINGS.page_url)),
    *(part("shop", SETTINGS.shop_url), part("catalog", "http://127.0.0.1:19401/metrics")),
    part("shop-events", "http://127.0.0.1:19400/metrics"),
)
ILL = (
    part("supervisor"),
    ill("postgres", "127.0.0.1:19432", "failed", f"Postgres could not create its data folder {SETTINGS.home}/postgres"),
    ill("kafka", str(SETTINGS.kafka), "down", "killed by signal 9; restarting", restarts=12),
    ill("registry", SETTINGS.registry_url, "restarting", "ended with code 1; restarting", restarts=3),
    part("jobmanager", SETTINGS.flink_url, state="unhealthy", detail="does not answer", healthy=False),
    *(task("topics", "", state="waiting"), task("tables", REFUSED, state="starting")),
    *(task("job", NOT_TAKEN, state="failed", restarts=2), recurring("finality", REFUSED, failing_since=LONG_AGO)),
    part("orders", "http://127.0.0.1:19400/metrics", state="done", detail="finished"),
)
AWAY = (f"Flink at {SETTINGS.flink_url} is away: {REFUSED}", "Kafka at 127.0.0.1:19092 is away: refused")
TOPICS = {e.topic: TopicCounts(published=9_876_543, counted=9_870_000, duplicate=700, late=7, dead=0) for e in events()}
BEHIND = {topic: 9_876_543 - 9_870_707 for topic in TOPICS}
FRESH = {f"{'events' if a.is_fact else 'live'}.{a.name}": 754.0 for a in aggregates()}
FINAL = {a.name: NOW - timedelta(hours=25) for a in aggregates() if not a.is_fact}
JOB = JobStatus(name="insights-live", state="RUNNING", last_checkpoint_age_seconds=4.2, lag=5836)


def status(**more: Any) -> Status:
    well: dict[str, Any] = {"endpoints": endpoints(SETTINGS), "topics": TOPICS, "jobs": (JOB,), "parts": WELL}
    return Status(**(well | {"freshness_seconds": FRESH, "final_until": FINAL, "away": ()} | more))


Shown = Callable[[RenderableType, int], list[str]]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Lines of a terminal so many columns wide."""

    def shown(view: RenderableType, width: int) -> list[str]:
        file = StringIO()
        monkeypatch.setattr(runtime, "out", Console(file=file, width=width, force_terminal=True, color_system=None))
        runtime.show(view)
        return file.getvalue().splitlines()

    return shown


@pytest.fixture
def piped(capsys: pytest.CaptureFixture[str]) -> Callable[[RenderableType], list[str]]:
    """Lines that go to a file or a program."""

    def shown(view: RenderableType) -> list[str]:
        runtime.show(view)
        return capsys.readouterr().out.splitlines()

    return shown


def texts(state: Status) -> list[str]:
    """Every word and number of a status that must be seen."""
    found: list[str] = [*" ".join(state.away).split()]
    for each in state.parts:
        found += [each.name, each.state, each.endpoint, *each.detail.split()]
        found += [f"×{each.restarts}"] if each.restarts else []
        found += ["1,512", "23 h"] if each.memory_mb else []
    for topic, counts in state.topics.items():
        found += [
            topic,
            f"{counts.published:,}",
            f"{counts.counted:,}",
            f"{counts.duplicate:,}",
            f"{BEHIND[topic]:,} →",
        ]
    for job in state.jobs:
        found += [job.name, str(job.state), "4.2 s ago", "5,836"]
    return [*found, *state.freshness_seconds, "12 min 34 s ago", "2026-11-22 11:00"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", [status(), status(parts=ILL, away=AWAY)], ids=["well", "ill"])
def test_a_status_fits_the_terminal_and_every_word_of_it_is_whole(
    state: Status, width: int, on_terminal: Shown
) -> None:
    lines = on_terminal(status_views.overview(state), width)
    assert [text for text in texts(state) if not any(text in line for line in lines)] == []
    assert [line for line in lines if len(line) > width and " " in line.strip()] == []


def test_the_shops_currency_is_shown(on_terminal: Shown) -> None:
    (line,) = [line for line in on_terminal(status_views.overview(status(currency="JPY")), 80) if "currency" in line]
    assert "JPY" in line


def table(lines: list[str], title: str) -> list[str]:
    """The lines beneath a title, which stands after an empty line or first."""
    tables = [block.splitlines() for block in "\n".join(lines).split("\n\n")]
    return next(beneath for head, *beneath in tables if head.split()[0] == title)


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_everything_that_is_well_is_one_line(width: int, on_terminal: Shown) -> None:
    lines = on_terminal(status_views.overview(status()), width)
    assert [line.split()[0] for line in table(lines, "parts")] == [
        *(part.name for part in WELL if not part.is_task),
        "total",
    ]
    tasks = [part.name for part in WELL if part.is_task and not part.recurring]
    assert [line.split()[0] for line in table(lines, "tasks")] == tasks
    (repeated,) = table(lines, "recurring")
    assert repeated.split() == ["finality", "running", "1", "min", *UTC_THEN.split(), *["kept", "in", "ops.finality"]]
    assert [line.split()[0] for line in table(lines, "topics")] == [*TOPICS, "✓"]
    assert sorted(line.split()[0] for line in table(lines, "tables")) == sorted(FRESH)


def test_the_topics_table_explains_its_marks(on_terminal: Shown) -> None:
    legend = on_terminal(status_views.topics_table(TOPICS), 80)[-1]
    for meaning in ("✓ published = counted + duplicate + late + dead", "→ in flight", "✗ too many"):
        assert meaning in legend


def test_numbers_of_years_are_not_cut_at_80_columns(on_terminal: Shown) -> None:
    many = TopicCounts(published=12_345_678_901, counted=12_345_000_000, duplicate=678_000, late=900, dead=0)
    shown = on_terminal(status_views.topics_table(dict.fromkeys(TOPICS, many)), 80)
    rows = [line.split() for line in shown if "→" in line][:-1]
    assert {tuple(row[-7:]) for row in rows} == {
        ("12,345,678,901", "12,345,000,000", "678,000", "900", "0", "1", "→"),
    }


@pytest.mark.parametrize("state", [status(), status(parts=ILL, away=AWAY)], ids=["well", "ill"])
def test_piped_each_row_is_one_line_with_all_of_it(state: Status, piped: Callable[[RenderableType], list[str]]) -> None:
    lines = piped(status_views.overview(state))
    for each in state.parts:
        (line,) = [line for line in lines if line.split()[:2] == [each.name, each.state]]
        assert each.endpoint in line
        assert each.detail in line
    for away in state.away:
        assert f"! {away}" in lines
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_address_is_broken(width: int, on_terminal: Shown) -> None:
    where = endpoints(SETTINGS)
    lines = on_terminal(status_views.addresses_table(where), width)
    for address in (where["page"], where["registry"], where["postgres"], f"{SETTINGS.home}/lake"):
        assert any(address in line for line in lines)


def test_only_what_runs_has_an_address(piped: Callable[[RenderableType], list[str]]) -> None:
    lines = piped(status_views.addresses_table(endpoints(SETTINGS), {"jobmanager", "kafka", "registry", "postgres"}))
    assert [line.split()[0] for line in lines[1:] if line.strip()] == ["Flink", "Kafka", "registry", "Postgres", "lake"]


def test_an_address_longer_than_the_terminal_is_not_broken_either(on_terminal: Shown) -> None:
    deep = Settings(home=Path("/srv") / ("deep/" * 20))
    assert any(
        str(deep.home / "lake") in line for line in on_terminal(status_views.addresses_table(endpoints(deep)), 80)
    )


def test_piped_an_address_has_its_name_before_it(piped: Callable[[RenderableType], list[str]]) -> None:
    (line,) = [line for line in piped(status_views.addresses_table(endpoints(SETTINGS))) if line.startswith("Postgres")]
    assert SETTINGS.postgres_dsn in line
    assert line.endswith("ops.* operations")


def test_a_finding_is_wrapped_at_words(on_terminal: Shown) -> None:
    folder = "/srv/" + "a-folder-with-a-long-name/" * 2
    finding = Finding(level="error", what=f"the data folder {folder} is not writable", advice="Choose another")
    lines = on_terminal(status_views.findings_table([finding]), 60)
    assert lines == [
        "✗ the data folder",
        f"  {folder}",
        "  is not writable. Choose another.",
    ]


def test_a_stack_that_was_never_started_has_no_tasks(on_terminal: Shown) -> None:
    stopped = ill("supervisor", "", "stopped", "")
    shown = on_terminal(status_views.overview(status(parts=(stopped,))), 80)
    assert shown[0].split() == ["parts", "state", "MB", "up", "for", "address"]
    assert shown[1].split() == ["supervisor", "stopped"]
    assert "tasks" not in {line.split()[0] for line in shown if line}


@pytest.mark.parametrize(
    ("published", "says"), [(10, "✓"), (12, "2 →"), (9, "1 ✗"), (None, "?")], ids=["even", "behind", "over", "unknown"]
)
def test_a_topics_row_ends_in_whether_it_balances(published: int | None, says: str) -> None:
    counts = TopicCounts(published=published, counted=7, duplicate=1, late=1, dead=1)
    assert status_views.balance(counts).plain == says


@pytest.mark.parametrize(
    ("job", "cells"),
    [
        (JOB, ["RUNNING", "4.2", "s", "ago", "5,836"]),
        (JobStatus(name="insights-live", state="RESTARTING"), ["RESTARTING", "none", "yet", "?"]),
        (JobStatus(name="insights-live"), ["?", "?", "?"]),
    ],
    ids=["running", "restarting", "Flink is away"],
)
def test_what_is_not_known_of_a_job_is_a_question_mark(job: JobStatus, cells: list[str], on_terminal: Shown) -> None:
    assert on_terminal(status_views.jobs_table([job]), 80)[1].split()[1:] == cells


@pytest.mark.parametrize("width", WIDTHS)
def test_a_job_that_keeps_failing_is_shown_with_the_reason(width: int, on_terminal: Shown) -> None:
    why = Failing(since=NOW, failures=3, is_more=False, why="PSQLException: relation versions.refunds_v1 is missing")
    lines = on_terminal(status_views.jobs_table([replace(JOB, state="RESTARTING", failing=why)]), width)
    said = " ".join(word for line in lines for word in line.split())
    assert "failed 3 times since 2026-11-23 12:00:00 UTC" in said
    assert "PSQLException: relation versions.refunds_v1 is missing" in said
    assert max(map(len, lines)) <= width


def test_a_missing_job_is_shown(on_terminal: Shown) -> None:
    assert on_terminal(status_views.jobs_table([]), 80)[1] == "none"


def test_tables_are_not_shown_as_empty_while_postgres_is_away(on_terminal: Shown) -> None:
    nothing = {"freshness_seconds": dict.fromkeys(FRESH), "final_until": dict.fromkeys(FINAL)}
    away = TopicCounts(published=5, counted=None, duplicate=None, late=None, dead=0)
    unknown = on_terminal(status_views.tables_table(status(topics=dict.fromkeys(TOPICS, away), **nothing)), 80)
    assert not any("yet" in line for line in unknown)
    assert any("no events yet" in line for line in on_terminal(status_views.tables_table(status(**nothing)), 80))


def test_marts_are_not_shown_as_missing_while_postgres_is_away(on_terminal: Shown) -> None:
    away = ("Postgres at 127.0.0.1:19432 is away: connection refused",)
    assert not any("not built yet" in line for line in on_terminal(status_views.overview(status(away=away)), 80))
    assert any("not built yet" in line for line in on_terminal(status_views.overview(status()), 80))


class Enough(Exception):
    """Stands for Ctrl-C."""


def watched(rounds: int, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    file, waits = StringIO(), iter(range(rounds - 1))

    def wait(_: float) -> None:
        if next(waits, None) is None:
            raise Enough

    console = Console(file=file, width=80, height=24, force_terminal=terminal, color_system=None, legacy_windows=False)
    monkeypatch.setattr(runtime, "out", console)
    monkeypatch.setattr(runtime, "endless", Console(file=file, width=1_000))
    with pytest.raises(Enough):
        runtime.keep_showing(lambda: status_views.overview(status()), every_seconds=1, wait=wait)
    return file.getvalue()


def test_a_terminal_is_watched_in_place_and_never_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = watched(3, monkeypatch, terminal=True)
    enter, clear = "\x1b[?1049h", "\x1b[2J"
    assert shown.count(enter) == 1
    assert shown.count(clear) == 0
    assert shown.count("shop-events") >= 3
    assert "more lines; enlarge the window to see them" in shown


def test_piped_each_look_follows_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = watched(3, monkeypatch, terminal=False)
    assert shown.count("shop-events") == 3
    assert "\x1b" not in shown


def test_late_events_that_a_replay_has_counted_are_shown_and_the_newest_replay_of_each_table(
    on_terminal: Shown,
) -> None:
    newest = {"sales_per_minute": "r12 rolled back", "order_lines": "r7 promoted"}
    shown = on_terminal(
        status_views.overview(status(replayed=Replayed(restated={"sales.order_placed.v1": 1_234}, newest=newest))), 80
    )
    assert max(map(len, shown)) <= 80
    assert "Late, but counted by a replay: 1,234 of sales.order_placed.v1." in " ".join(shown)
    assert [line.split()[-3:] for line in shown if "live.sales_per_minute" in line] == [["r12", "rolled", "back"]]
    assert [line.split()[-2:] for line in shown if "events.order_lines" in line] == [["r7", "promoted"]]


def test_up_ends_with_the_progress_of_counting_the_history() -> None:
    said = status_views.still_counting(NOW - timedelta(hours=6), NOW)
    assert f"Orders are counted up to {NOW - timedelta(hours=6):%Y-%m-%d %H:%M} UTC so far" in said
    assert "`insights status`" in said
    assert status_views.still_counting(NOW - timedelta(minutes=2), NOW) == ""
    assert status_views.still_counting(None, NOW) == ""
