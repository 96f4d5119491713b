"""The `insights` command. What a command needs is imported when it runs, so that `--help` comes at once."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insights.cli import (
    agree_command,
    alert_commands,
    audit_commands,
    backup_commands,
    collect_commands,
    connect_commands,
    dbt_commands,
    dead_letters_command,
    deploy_commands,
    export_commands,
    flink_commands,
    lake_commands,
    page_commands,
    privacy_commands,
    replay_commands,
    runtime,
    schema_commands,
    serve_command,
    systemd_command,
    time_zone_command,
    upgrade_command,
)
from insights.cli import dashboard_commands as dashboard_commands
from insights.settings import PROJECT, Settings, load_settings
from schemas.errors import Misconfigured

if TYPE_CHECKING:
    from insights.stack import UpPlan

WATCH_SECONDS = 1.0

app = typer.Typer(
    cls=runtime.FrontDoor,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(connect_commands.app, name="connect")
app.add_typer(collect_commands.app, name="collect")
app.add_typer(schema_commands.app, name="schemas")
app.add_typer(flink_commands.app, name="flink")
app.add_typer(replay_commands.app, name="replay")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(lake_commands.app, name="lake")
app.add_typer(dead_letters_command.app, name="dead-letters")
app.add_typer(deploy_commands.app, name="deploy")
app.add_typer(privacy_commands.app, name="privacy")
app.add_typer(alert_commands.app, name="alerts")
app.add_typer(export_commands.app, name="export")
app.add_typer(dashboard_commands.app, name="dashboards")
app.add_typer(dbt_commands.app, name="dbt")
app.add_typer(page_commands.app, name="page")


def _default(field: str) -> str:
    value = Settings.model_fields[field].default
    return f"Default: {Settings.variable(field)}, or {f'{value:g}' if isinstance(value, float) else value}."


# An empty metavar: a flag takes no value, and <bool> would read as if it did.
Debug = Annotated[bool, typer.Option("--debug", metavar="", help="Show tracebacks and the warnings of libraries.")]
History = Annotated[
    str | None,
    typer.Option(
        metavar="LENGTH|FILE",
        help=f"History to start with: a length of time (12h, 30d), or a file of real orders. {_default('history')}",
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|NAME|auto",
        help="With --history FILE: a TOML column mapping, the name of a built-in one, or auto to detect it.",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=0.001, metavar="NUMBER", help=f"Average events per second of the synthetic shop. {_default('rate')}"
    ),
]
Seed = Annotated[
    int | None, typer.Option(metavar="NUMBER", help=f"The same seed generates the same shop. {_default('seed')}")
]
NoProducers = Annotated[
    bool,
    typer.Option("--no-producers", metavar="", help="Start only the servers and the live job, without shop and page."),
]
Foreground = Annotated[
    bool, typer.Option("--foreground", metavar="", help="Keep running; Ctrl-C or SIGTERM stops everything.")
]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Remove without asking.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, in a stable format.")]
Watch = Annotated[bool, typer.Option("--watch", metavar="", help="Refresh every second, until Ctrl-C.")]
PartName = Annotated[
    str,
    typer.Argument(
        metavar="PART", help="Its name in the `parts` table of `insights status`, for example kafka or page."
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", metavar="", help="Keep showing new lines, until Ctrl-C.")]
Lines = Annotated[
    int, typer.Option("--lines", "-n", min=0, metavar="NUMBER", help="How many of the last lines to show.")
]


@app.callback()
def insights(debug: Debug = False) -> None:
    """Insights Hub: real-time analytics for online shops.

    Example: insights up --history 12h
    """


@app.command()
def up(
    history: History = None,
    mapping: MappingFile = None,
    rate: Rate = None,
    seed: Seed = None,
    no_producers: NoProducers = False,
    foreground: Foreground = False,
) -> None:
    """Start everything and wait until the history is counted and on the dashboards. Leaves running parts alone.

    Example: insights up --history 12h --rate 50
    """
    from insights import stack, status
    from insights.cli import progress, status_views
    from insights.doctor import require_fit

    settings = load_settings()
    plan = up_plan(history, mapping, rate=rate, seed=seed, daemons=not no_producers)
    plan = with_connections(settings, plan)
    check_shops_currency(settings, plan)
    was_stopped = flink_commands.end_stop(settings)
    if is_up(settings) and not foreground:
        if was_stopped:
            flink_commands.start_again(settings)
        else:
            runtime.say("Everything is already running; nothing was changed.")
        if history or rate or seed is not None:
            runtime.say("The options were ignored: they only apply when the stack starts.", style="yellow")
    else:
        warnings = [finding for finding in require_fit(settings) if finding.level == "warning"]
        runtime.show(status_views.findings_table(warnings)) if warnings else None
        began = time.monotonic()
        with progress.steps(runtime.out) as report:
            (stack.stay if foreground else stack.up)(settings, plan, report)
        if foreground:
            return
        runtime.say("")
        runtime.say(f"Everything is up after {time.monotonic() - began:.0f} s.", style="bold green")
    runtime.say("")
    runs = {part.name for part in stack.part_states(settings) if part.healthy}
    runtime.show(status_views.addresses_table(status.endpoints(settings), runs))
    if "page" in runs:
        runtime.say("")
        if behind := status_views.still_counting(stack.counted_until(settings), datetime.now(UTC)):
            runtime.say(behind, style="yellow")
        runtime.say(status_views.what_next(settings.page_url))


def up_plan(
    history: str | None, mapping: Path | None, *, rate: float | None, seed: int | None, daemons: bool
) -> UpPlan:
    """What `up` shall start. Raises Misconfigured when the history is neither a length of time nor a file."""
    from insights.stack import UpPlan
    from producers.main import read_length, ready_mapping

    file = Path(history).expanduser().absolute() if history and (mapping or Path(history).exists()) else None
    if file is None and mapping is not None:
        raise Misconfigured("--mapping describes the columns of a history file; name the file with --history FILE")
    if file is not None and mapping is not None:
        mapping = ready_mapping(file, mapping.expanduser(), confirmed=False)
    for path in (file, mapping):
        if path is not None and not path.is_file():
            raise Misconfigured(
                f"{path} is not a file; --history takes the orders file and --mapping its column mapping"
            )
    if history and file is None:
        read_length(history)
    return UpPlan(
        daemons=daemons,
        history=history if file is None else None,
        history_file=file,
        mapping=mapping.expanduser().absolute() if mapping else None,
        rate=rate,
        seed=seed,
    )


def with_connections(settings: Settings, plan: UpPlan) -> UpPlan:
    """The plan, which follows the connected shops if the folder is theirs, also when they were removed since.

    Raises Misconfigured when a past is asked for as well.
    """
    from producers.connect.connections import names
    from producers.connect.memory import FILE

    folder = settings.producers_dir
    is_connected = plan.daemons and (bool(names(folder)) or (folder / FILE).exists())
    if is_connected and (plan.history or plan.history_file or plan.rate or plan.seed is not None):
        raise Misconfigured(
            f"the data in {settings.home} are a connected shop's, which brings its own history: leave out --history,"
            " --rate and --seed, or choose another folder with INSIGHTS_HOME"
        )
    return replace(plan, connected=is_connected)


def check_shops_currency(settings: Settings, plan: UpPlan) -> None:
    """Raises Misconfigured when the data folder, or a file of orders to begin with, is in another currency."""
    from insights.shop_currency import check_currency
    from producers.order_file import mapping

    check_currency(settings)
    if plan.mapping is not None:
        mapping.check_currency(mapping.load(plan.mapping).constants, settings.currency, plan.mapping)


def is_up(settings: Settings) -> bool:
    """Whether every part of a stack that was started runs and is well."""
    from insights.stack import part_states

    parts = part_states(settings)
    return len(parts) > 1 and all(part.healthy for part in parts)


@app.command()
def down() -> None:
    """Stop everything, taking a savepoint of the live job. Keeps the data.

    Example: insights down
    """
    from insights import stack
    from insights.cli import progress

    settings = load_settings()
    with progress.steps(runtime.out) as report:
        stack.down(settings, report)
    runtime.say("Everything is stopped; `make up` resumes from here.")


@app.command()
def clean(force: Force = False) -> None:
    """Stop everything and remove all data: the log, the tables, the lake.

    Example: insights clean --force
    """
    from insights import stack
    from insights.cli import progress

    settings = load_settings()
    if not settings.home.exists():
        runtime.say(f"{settings.home} does not exist; there is nothing to remove.")
        return
    check_is_data_folder(settings.home)
    if not force:
        typer.confirm(f"Remove everything in {settings.home}?", abort=True)
    with progress.steps(runtime.out) as report:
        stack.down(settings, report)
    shutil.rmtree(settings.home)
    runtime.say(f"Removed {settings.home}.")


def check_is_data_folder(home: Path) -> None:
    """Raises Misconfigured unless the folder was made by `up`: a wrong INSIGHTS_HOME must not cost somebody theirs."""
    precious = (PROJECT, Path.home(), *PROJECT.parents)
    if home in precious or not (home / "run").is_dir():
        raise Misconfigured(
            f"{home} does not look like a data folder of Insights Hub; set INSIGHTS_HOME to the one to remove"
        )


@app.command()
def status(as_json: AsJson = False, watch: Watch = False) -> None:
    """Show what is running, the events counted, and how fresh the tables are.

    Example: insights status --watch
    """
    from insights.cli import status_views
    from insights.status import watching

    with watching(load_settings()) as look:
        if as_json:
            found = look()
            for line in found.away:
                runtime.errors.print(line, highlight=False, markup=False, soft_wrap=True)
            sys.stdout.write(json.dumps(found.as_json(), indent=2) + "\n")
        elif watch:
            runtime.keep_showing(lambda: status_views.overview(look()), every_seconds=WATCH_SECONDS)
        else:
            runtime.show(status_views.overview(look()))


@app.command()
def doctor() -> None:
    """Check whether this machine can run the stack.

    Example: insights doctor
    """
    from insights.cli import status_views
    from insights.doctor import check

    findings = check(load_settings())
    runtime.show(status_views.findings_table(findings))
    if any(finding.level == "error" for finding in findings):
        runtime.say("This machine can't run the stack until the problems marked ✗ are fixed.", style="bold red")
        raise typer.Exit(1)
    runtime.say("This machine can run the stack: `make up` starts it.", style="bold green")


@app.command()
def logs(part: PartName, follow: Follow = False, lines: Lines = 50) -> None:
    """Show the last lines of a part's log.

    Example: insights logs taskmanager --follow
    """
    from insights.cli.log_tail import follow as follow_from
    from insights.cli.log_tail import last_lines, readable_lines
    from insights.stack import log_path

    path = log_path(load_settings(), part)
    text, offset = last_lines(path, lines)
    added = follow_from(path, offset) if follow else ()
    for line in readable_lines(chain([text], added)):
        sys.stdout.write(line)
        sys.stdout.flush()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def produce(ctx: typer.Context) -> Any:
    """Run an event source in this terminal, until it finishes or Ctrl-C.

    Example: insights produce orders --rate 50 --max-events 1000
    """
    from insights.shop_currency import check_currency
    from insights.wiring import producer_servers
    from producers.main import app as producers_app

    settings = load_settings()
    check_currency(settings)
    where = [
        *producer_servers(settings),
        "--state",
        str(settings.producers_dir),
        "--listen",
        settings.listen,
        "--currency",
        settings.currency,
    ]
    producers_app(args=[*where, *ctx.args], prog_name="insights produce", standalone_mode=True)


# After the commands above in `--help`.
app.command("agree")(agree_command.agree)
app.command("upgrade")(upgrade_command.upgrade)
app.command("time-zone")(time_zone_command.time_zone)
app.command("sales-by")(time_zone_command.sales_by)
app.command("backup")(backup_commands.backup)
app.command("restore")(backup_commands.restore)
app.command("backup-key")(backup_commands.backup_key)
app.command("systemd-unit")(systemd_command.systemd_unit)
app.command("serve")(serve_command.serve)


def main() -> None:
    """Entry point of the `insights` command."""
    runtime.run(app)
