"""``insights alerts``: what the rules find, what is open, and whether people can be reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.errors import Misconfigured

if TYPE_CHECKING:
    from alerts.channels import Channel

app = runtime.group("Alerts: rules, open alerts and notification channels.", example="insights alerts list")
ChannelOption = Annotated[
    str | None, typer.Option("--channel", metavar="NAME", help="Only this channel: webhook, slack or email.")
]
RECENT = timedelta(days=1)


@app.command()
def check() -> None:
    """Evaluate every rule now and show what it finds. Sends and records nothing, and ignores `for`.

    Exits with 1 when a rule finds something or is invalid.

    Example: insights alerts check
    """
    from alerts.postgres import connect
    from alerts.rule import read_rules
    from alerts.watch import look
    from insights.cli.alert_views import looked_table
    from insights.cli.status_views import noted_lines

    read = read_rules()
    with connect(load_settings().postgres_dsn, read_only=True) as connection:
        looked = [look(connection, rule, datetime.now(UTC)) for rule in read.rules]
    problems = [*read.problems, *(each.detail for each in looked if each.outcome == "broken")]
    if problems:
        runtime.show(noted_lines(problems))
        runtime.say("")
    runtime.show(looked_table(looked))
    if problems or any(each.found for each in looked):
        raise typer.Exit(1)


@app.command("list")
def list_() -> None:
    """List the rules with their last check, the open alerts, and the channels.

    Example: insights alerts list
    """
    from alerts import alert_store
    from alerts.postgres import connect
    from alerts.rule import read_rules
    from insights.cli.alert_views import Known, known_tables
    from insights.wiring import alert_config

    settings = load_settings()
    channels = alert_config(settings).open_channels()
    now = datetime.now(UTC)
    with connect(settings.postgres_dsn, read_only=True) as connection:
        is_there = alert_store.is_there(connection)
        known = Known(
            now=now,
            rules=read_rules(),
            checks=alert_store.checks(connection) if is_there else {},
            open=alert_store.open_alerts(connection) if is_there else [],
            recovered=alert_store.recovered(connection, now - RECENT) if is_there else [],
            troubles=alert_store.troubles(connection, now - RECENT) if is_there else [],
            channels=channels,
        )
    runtime.show(known_tables(known))


@app.command("test")
def try_out(channel: ChannelOption = None) -> None:
    """Send a test message to each channel and show the result.

    Exits with 1 when a channel rejects it.

    Example: insights alerts test --channel slack
    """
    from alerts.channels import ChannelFailed
    from alerts.message import trial
    from insights.wiring import alert_config

    failed = False
    for each in _chosen(alert_config(load_settings()).open_channels(), channel):
        try:
            each.send(trial(each.name, datetime.now(UTC)))
            runtime.say(f"{each.name}: delivered to {each.where}", style="green")
        except ChannelFailed as problem:
            failed = True
            runtime.say(f"{each.name}: {problem}", style="bold red")
    if failed:
        raise typer.Exit(1)


def _chosen(channels: tuple[Channel, ...], name: str | None) -> list[Channel]:
    there = ", ".join(each.name for each in channels)
    chosen = [each for each in channels if name in (None, each.name)]
    if not channels:
        raise Misconfigured(
            "no channel is configured: set INSIGHTS_ALERT_WEBHOOK_URL, INSIGHTS_ALERT_SLACK_URL, or"
            " INSIGHTS_ALERT_SMTP_URL with INSIGHTS_ALERT_EMAIL_FROM and INSIGHTS_ALERT_EMAIL_TO (docs/alerts.md)"
        )
    if not chosen:
        raise Misconfigured(f"the channel {name!r} is not configured; configured: {there}")
    return chosen
