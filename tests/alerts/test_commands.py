"""`insights alerts`, the line in `insights status`, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from rich.console import Console
from typer.testing import CliRunner

import alerts.rule
from alerts.alert_store import Summary
from alerts.postgres import PostgresAway
from alerts.watch import Watch
from insights.cli.main import app
from insights.cli.status_views import alerts_line
from insights.settings import Settings, load_settings
from insights.stack.composition import UpPlan, daemons
from insights.status import Observer
from insights.wiring import alert_config, login_of
from schemas.errors import Misconfigured
from tests.alerts.made_rules import write
from tests.alerts.made_stack import make_stack
from tests.alerts.receivers import Inbox
from warehouse.logins import Role

RUNNER = CliRunner()


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own in place of the shipped rules."""
    folder = tmp_path / "rules"
    write(folder)
    monkeypatch.setattr(alerts.rule.read_rules, "__defaults__", (folder,))
    return folder


@pytest.fixture
def shop(dsn: str, rules: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """A database with shelves, which the command takes for the stack's."""
    monkeypatch.setattr(Settings, "postgres_dsn", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table shelves (label text)")
        yield connection


def run(*words: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["alerts", *words])
    return done.exit_code, done.output


def test_check_shows_what_each_rule_finds_and_ends_with_1_when_one_does(
    shop: psycopg.Connection[Any], rules: Path
) -> None:
    write(rules, "other", sql="select label from cellars", **{"for": "3h"})
    code, shown = run("check")
    assert code == 0
    assert "not known yet: there is no cellars" in shown
    shop.execute("insert into shelves select 'shelf ' || n from generate_series(10, 30) as n")
    code, shown = run("check")
    assert code == 1
    assert "shelf 10 is out" in shown
    assert "and 11 more" in shown
    # It remembers nothing.
    assert shop.execute("select count(*) from ops.alerts").fetchone() == (0,)


def test_check_shows_every_problem_of_every_rule(shop: psycopg.Connection[Any], rules: Path) -> None:
    write(rules, "one", titel="x", every="often")
    write(rules, "two", message="{naem}")
    write(rules, "three", sql="select lable as label from shelves")
    code, shown = run("check")
    assert code == 1
    for said in (
        f"{rules}/one.yaml: field titel: is not a field here",
        f"{rules}/one.yaml: field every: 'often' is not a length of time",
        "rule two, field message: {naem} is not a column of its SQL; the columns are label",
        'rule three, field sql: Postgres says: column "lable" does not exist',
    ):
        assert said in shown
    assert "shelves" in shown


def test_an_unavailable_database_is_reported_in_one_sentence(
    rules: Path, apart: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHTS_POSTGRES_PORT", str(apart(tmp_path).postgres_port))
    for command in ("check", "list"):
        code, shown = run(command)
        assert (code, "Postgres is not responding" in shown, "Traceback" in shown) == (
            PostgresAway.exit_code,
            True,
            False,
        )


def test_list_shows_rules_open_alerts_and_channels_before_and_after_anything_was_checked(
    shop: psycopg.Connection[Any],
    dsn: str,
    rules: Path,
    inbox: Inbox,
    apart: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, shown = run("list")
    assert (code, "not checked yet" in shown, "but not sent" in shown) == (0, True, True)
    monkeypatch.setenv("INSIGHTS_ALERT_SLACK_URL", inbox.url)
    inbox.answers.append(403)
    shop.execute("insert into shelves values ('helmets')")
    watch = Watch(dsn=dsn, channels=alert_config(load_settings()).open_channels(), rules=rules)
    watch.step()
    watch.close()
    code, shown = run("list")
    assert code == 0
    assert "helmets is out" in shown
    assert "answered 403" in shown
    assert "T0SECRET" not in shown
    make_stack(dsn)
    port = urlsplit(dsn).port
    (folder,) = shop.execute("show data_directory").fetchone() or ("",)
    observer = Observer(apart(Path(folder).parent, postgres_port=port))
    summary = observer.look(datetime.now(UTC)).alerts
    observer.close()
    assert summary is not None
    assert (summary.warning, summary.untold) == (1, 1)


def test_a_test_message_goes_to_each_channel_and_its_result_is_shown(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, shown = run("test")
    assert (code, "INSIGHTS_ALERT_WEBHOOK_URL" in shown) == (1, True)
    monkeypatch.setenv("INSIGHTS_ALERT_WEBHOOK_URL", inbox.url)
    monkeypatch.setenv("INSIGHTS_ALERT_SLACK_URL", inbox.url)
    inbox.answers.append(500)
    code, shown = run("test")
    assert code == 1
    assert "webhook: http://127.0.0.1" in shown
    assert "answered 500" in shown
    assert "slack: delivered to" in shown
    code, shown = run("test", "--channel", "webhook")
    assert (code, len(inbox.bodies)) == (0, 2)
    assert inbox.messages[1]["kind"] == "test"
    assert inbox.messages[1]["text"].startswith("Test: ")
    code, shown = run("test", "--channel", "email")
    assert (code, "configured: webhook, slack" in shown) == (1, True)
    assert "T0SECRET" not in shown


QUIET = Summary(critical=0, warning=0, info=0, broken=0, untold=0, checked_at=datetime(2026, 11, 24, tzinfo=UTC))


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        (QUIET, "alerts none"),
        (replace(QUIET, checked_at=None), "alerts rules not checked yet"),
        (
            replace(QUIET, critical=1, warning=2, broken=4, untold=3),
            "alerts 1 critical, 2 warning, invalid rules: 4, undelivered messages: 3. See `insights alerts list`",
        ),
    ],
)
def test_the_status_has_a_line_for_alerts(summary: Summary, line: str) -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(alerts_line(summary))
    assert " ".join(shown.get().split()) == line


def test_a_wrong_setting_is_reported_when_the_stack_is_planned_without_secrets(
    tmp_path: Path, apart: Callable[..., Settings]
) -> None:
    with pytest.raises(Misconfigured, match="INSIGHTS_ALERT_SLACK_URL") as caught:
        daemons(apart(tmp_path, alert_slack_url="hooks/T0SECRET"), UpPlan())
    assert "T0SECRET" not in str(caught.value)


def test_the_stack_runs_the_daemon_with_its_secrets_in_a_file_and_on_no_command_line(
    tmp_path: Path, apart: Callable[..., Settings]
) -> None:
    settings = apart(tmp_path, alert_slack_url="https://hooks.example.com/T0SECRET", postgres_password="P0SECRET")
    (part,) = [part for part in daemons(settings, UpPlan()) if part.name == "alerts"]
    assert not any(secret in repr((part.command, part.environment)) for secret in ("T0SECRET", "P0SECRET"))
    assert urlsplit(part.endpoint).port == settings.alerts_port
    settings.run_dir.mkdir()
    assert part.prepare
    part.prepare()
    written = (settings.run_dir / "alerts.json").read_text()
    assert "T0SECRET" in written
    assert login_of(settings, Role.ALERTS).password in written
    assert "P0SECRET" not in written  # the daemon is not the owner


def test_no_message_about_settings_contains_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_ALERT_SLACK_URL", "https://hooks.example.com/T0SECRET")
    monkeypatch.setenv("INSIGHTS_KAFKA_PORT", "many")
    with pytest.raises(Misconfigured, match="INSIGHTS_KAFKA_PORT=many") as caught:
        load_settings()
    assert "T0SECRET" not in str(caught.value)
    monkeypatch.delenv("INSIGHTS_KAFKA_PORT")
    assert "T0SECRET" not in repr(load_settings())
    with pytest.raises(Misconfigured, match="INSIGHTS_ALERT_SLACK_ULR: Extra inputs") as caught:
        load_settings(alert_slack_ulr="https://hooks.example.com/T0SECRET")
    assert "T0SECRET" not in str(caught.value)
