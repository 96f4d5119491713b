"""``insights replay``: recomputes history, verifies it against the live tables, and swaps it in."""

from __future__ import annotations

import getpass
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.errors import Misconfigured
from schemas.plural import counted

if TYPE_CHECKING:
    from replay.planning import Wish

app = runtime.group(
    "Recompute history from the log, verify it cell by cell, and promote it.",
    example="insights replay plan sales_per_minute --from 2026-11-01 --to 2026-11-08",
)
Names = Annotated[
    list[str] | None, typer.Argument(metavar="AGGREGATE", help="What to recompute, for example sales_per_minute.")
]
All = Annotated[bool, typer.Option("--all", metavar="", help="Every aggregate and every fact.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Windows that start at this time or later, UTC.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Windows that start before this time, UTC.")]
FromBeginning = Annotated[bool, typer.Option("--from-beginning", metavar="", help="All windows.")]
Late = Annotated[
    bool, typer.Option("--late", metavar="", help="The windows of pending late events, with these events included.")
]
Offsets = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read up to these offsets: a plan, a certificate, or {topic: {partition: end}}."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where to write the plan. Default: the current folder."),
]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A file that `insights replay plan` wrote.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's name in `insights replay list`, for example r7.")
]
EngineName = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="local (Spark on this machine), duckdb, emr, or kubernetes.")
]
Day = Annotated[str, typer.Argument(metavar="DAY", help="yesterday, or a date such as 2026-11-08; the shop's day.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print the certificate as stored.")]
Restate = Annotated[
    bool, typer.Option("--restate", metavar="", help="Promote a run that differs from the live data, on purpose.")
]
Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Required with --restate: why the numbers change. It is recorded.")
]


@app.command()
def plan(
    names: Names = None,
    all_: All = False,
    since: From = None,
    until: To = None,
    from_beginning: FromBeginning = False,
    late: Late = False,
    offsets: Offsets = None,
    out: Out = None,
) -> None:
    """Work out what a replay would read and affect, and write it to a file. Changes nothing.

    Example: insights replay plan sales_per_minute --from 2026-11-01 --to 2026-11-08
    """
    from insights.cli.replay_views import plan_sheets
    from insights.wiring import replay_context
    from replay.plan_file import read_offsets
    from replay.planning import make_plan

    wish = wish_of(names or [], every=all_, since=since, until=until, from_beginning=from_beginning, late=late)
    if offsets:
        wish = replace(wish, ends=read_offsets(offsets))
    path = out or Path(f"replay-{datetime.now(UTC):%Y%m%d-%H%M%S}.yaml")
    if path.exists() or not path.absolute().parent.is_dir():
        raise Misconfigured(f"{path} already exists, or its folder doesn't; name another file with --out")
    found = make_plan(replay_context(load_settings()), wish)
    path.write_text(found.to_yaml())
    for sheet in plan_sheets(found):
        runtime.show(sheet)
        runtime.say("")
    runtime.say(f"The plan is in {path}. Nothing was changed; `insights replay run {path}` runs it.")


def wish_of(
    names: list[str], *, every: bool, since: str | None, until: str | None, from_beginning: bool, late: bool
) -> Wish:
    """What the options ask for. Raises Misconfigured when they contradict each other or are incomplete."""
    from replay.planning import Wish, everything

    if late and (names or every):
        raise Misconfigured("--late takes no names: a late event is counted in all aggregates at once")
    if every == bool(names) and not late:
        raise Misconfigured("name the aggregates to recompute, as sales_per_minute, or give --all")
    if [bool(since or until), from_beginning, late].count(True) != 1:
        raise Misconfigured("choose the history to recompute: --from and --to, --from-beginning, or --late")
    return Wish(
        names=tuple(names) or everything(),
        scope="late" if late else "beginning" if from_beginning else "windows",
        since=moment(since, "--from"),
        until=moment(until, "--to"),
    )


def moment(text: str | None, option: str) -> datetime | None:
    """A time in UTC. Raises Misconfigured naming the option."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misconfigured(f"{option} {text} is not a time; write it as 2026-11-01 or 2026-11-01T10:15") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


@app.command()
def run(plan_file: PlanFile, engine: EngineName = "local") -> None:
    """Run a plan, without touching the live tables. Resumes a run that was interrupted.

    Example: insights replay run replay-20261108-101500.yaml
    """
    from insights.cli.replay_views import Meter, run_sheet
    from insights.engines import engine_of
    from insights.wiring import replay_context
    from replay.plan_file import read_plan
    from replay.run import run as run_plan

    settings = load_settings()
    found = read_plan(plan_file)
    with Meter(found) as meter:
        done = run_plan(
            replay_context(settings),
            found,
            engine_of(settings, engine, meter.say),
            by=getpass.getuser(),
            say=meter.say,
            on_event=meter.on_event,
        )
    runtime.show(run_sheet(done))
    runtime.say(f"The live tables are unchanged; `insights replay verify {done.run}` compares the results with them.")


@app.command()
def cancel(run: RunName) -> None:
    """Cancel a run's job on EMR Serverless. Finished chunks are kept: running the same plan again resumes from them.

    Example: insights replay cancel r7
    """
    from insights.engines import emr_target
    from insights.wiring import replay_context
    from spark import emr
    from spark.task import read_task

    settings = load_settings()
    target = emr_target(settings)
    path = replay_context(settings).run_dir(run) / "task.json"
    if not path.exists():
        raise Misconfigured(f"there is no task of {run} here; `insights replay list` lists the runs")
    job = emr.cancel(target, read_task(path.read_text()))
    runtime.say(f"Cancelling job {job} on EMR Serverless." if job else f"{run} has no running job on EMR Serverless.")


@app.command()
def verify(run: RunName) -> None:
    """Compare a run with the live tables, cell by cell, and write its certificate.

    Example: insights replay verify r7
    """
    from insights.cli.replay_views import certificate_sheets
    from insights.wiring import replay_context
    from replay.verify import verify as verify_run

    done = verify_run(replay_context(load_settings()), run, say=runtime.say)
    for sheet in certificate_sheets(done):
        runtime.show(sheet)
    certificate: dict[str, Any] = done.certificate or {}
    if certificate["result"] == "new":
        rows = counted(sum(one["rows"] for one in certificate["aggregates"]), "row was", "rows were")
        runtime.say(
            f"{', '.join(done.aggregates)} is new: {rows} computed, and there is no live table to compare with."
            f" Next: `insights replay promote {run}`.",
            style="bold green",
        )
        return
    if certificate["result"] != "equal":
        runtime.say(f"{run} differs from the live tables.", style="bold red")
        raise typer.Exit(1)
    excluded = sum(sum(one["excluded"].values()) for one in certificate["aggregates"])
    but = f", except {counted(excluded, 'row')} that newer events affect" if excluded else ""
    if faults := certificate.get("sums_faults"):
        runtime.say(
            f"The reconciliation of {', '.join(faults)} does not balance: see above. All cells are equal.",
            style="yellow",
        )
    runtime.say(
        f"{run} equals the live tables in every cell{but}. Next: `insights replay promote {run}`.", style="bold green"
    )


@app.command()
def promote(run: RunName, restate: Restate = False, reason: Reason = None) -> None:
    """Replace the live data with a verified run, in one transaction.

    Example: insights replay promote r7
    """
    from insights.cli.replay_views import changes_sheet
    from insights.wiring import replay_context
    from replay.promote import promote as promote_run

    if restate != bool(reason):
        raise Misconfigured("--restate and --reason go together: a promotion that changes numbers needs a reason")
    done = promote_run(replay_context(load_settings()), run, reason=reason, by=getpass.getuser(), say=runtime.say)
    runtime.show(changes_sheet(done))
    runtime.say(f"{run} is live; `insights replay rollback {run}` undoes it.", style="bold green")


@app.command()
def rollback(run: RunName) -> None:
    """Undo a promotion: readers see the previous data again.

    Example: insights replay rollback r7
    """
    from insights.wiring import replay_context
    from replay.promote import rollback as roll_back

    roll_back(replay_context(load_settings()), run, say=runtime.say)
    runtime.say(f"{run} is rolled back: readers see the previous data again.")


@app.command()
def prune(run: RunName) -> None:
    """Remove a run's data, but keep its record and certificate. A promoted run can't be rolled back afterwards.

    Example: insights replay prune r7
    """
    from insights.wiring import replay_context
    from replay.promote import prune as prune_run

    prune_run(replay_context(load_settings()), run)
    runtime.say(f"Removed the data of {run}; `insights replay show {run}` still shows its record.")


@app.command("list")
def list_() -> None:
    """List the latest runs.

    Example: insights replay list
    """
    from insights.cli.replay_views import runs_sheet
    from insights.wiring import replay_context
    from replay import run_history

    context = replay_context(load_settings())
    with context.postgres() as connection:
        found = run_history.newest(connection, 20)
    runtime.show(runs_sheet(found))


@app.command()
def show(
    run: RunName, as_json: Annotated[bool, typer.Option("--json", metavar="", help="The certificate.")] = False
) -> None:
    """Show a run: its progress, its certificate, and what its promotion changed.

    Example: insights replay show r7
    """
    import json
    import sys

    from insights.cli.replay_views import certificate_sheets, changes_sheet, run_sheet
    from insights.wiring import replay_context
    from replay import run_history

    context = replay_context(load_settings())
    with context.postgres() as connection:
        found = run_history.find(connection, run)
    if as_json:
        sys.stdout.write(json.dumps(found.certificate, indent=2) + "\n")
        return
    runtime.show(run_sheet(found))
    for sheet in certificate_sheets(found):
        runtime.show(sheet)
    if found.changes:
        runtime.show(changes_sheet(found))


@app.command()
def explain(
    aggregate: Annotated[str, typer.Argument(metavar="AGGREGATE", help="For example sales_per_minute.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The row's key: its values, separated by commas.")],
) -> None:
    """Show the events behind one row, and check that they add up to it.

    Example: insights replay explain sales_per_minute "2026-11-03 10:15, EU, wheels"
    """
    from insights.cli.replay_views import explanation_sheets
    from insights.wiring import replay_context
    from replay.explain import explain as explain_row

    found = explain_row(replay_context(load_settings()), aggregate, key)
    for sheet in explanation_sheets(found):
        runtime.show(sheet)
        runtime.say("")
    if found.adds_up:
        runtime.say("The events match the live row in every cell.", style="bold green")
    else:
        runtime.say("The events do not match the live row.", style="bold red")
        raise typer.Exit(1)


@app.command()
def late(engine: EngineName = "duckdb") -> None:
    """Count late events whose windows are final: plan, run, verify and promote in one step.

    Example: insights replay late
    """
    from insights.cli.replay_views import certificate_sheets, changes_sheet
    from insights.engines import engine_of
    from insights.wiring import replay_context
    from replay.restate import restate_late

    settings = load_settings()
    done = restate_late(
        replay_context(settings),
        engine_of(settings, engine, runtime.say),
        by=getpass.getuser(),
        say=runtime.say,
        on_event=lambda event: None,
    )
    if done is None:
        return
    for sheet in (*certificate_sheets(done), changes_sheet(done)):
        runtime.show(sheet)
    runtime.say(f"{done.run} is live; `insights replay rollback {done.run}` undoes it.")


@app.command("check-day")
def check_day(day: Day = "yesterday", engine: EngineName = "duckdb") -> None:
    """Recompute everything of a day and compare it with the live tables: plan, run and verify in one step.

    Changes no number. Exits with code 1 if a cell differs; that run is kept, to be looked at.

    Example: insights replay check-day yesterday
    """
    from insights.cli.replay_views import certificate_sheets
    from insights.engines import engine_of
    from insights.wiring import replay_context
    from replay import check_day as checking

    settings = load_settings()
    done = checking.check_day(
        replay_context(settings),
        day,
        datetime.now(UTC),
        engine_of(settings, engine, runtime.say),
        by=getpass.getuser(),
        say=runtime.say,
        on_event=lambda event: None,
    )
    for sheet in certificate_sheets(done):
        runtime.show(sheet)
    if done.certificate and done.certificate["result"] == "different":
        runtime.say(
            f"{day} differs from the live tables. `insights replay show {done.run}` lists tables and rows, and"
            f" `insights replay prune {done.run}` removes the run.",
            style="bold red",
        )
        raise typer.Exit(1)
    runtime.say(f"{day} equals the live tables; {done.run} has the certificate.", style="bold green")
