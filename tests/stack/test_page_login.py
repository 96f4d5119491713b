"""The page's login as the stack sets it up: settings, the part, what doctor says of it, and `insights page`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dashboards.gate import access
from dashboards.gate.access import opened
from dashboards.gate.server import GateSettings
from dashboards.visitor import Role
from insights import doctor
from insights.cli.main import app
from insights.settings import Settings, load_settings
from insights.stack.composition import UpPlan, daemons
from insights.stack.part import Part
from schemas.errors import Misconfigured
from tests.conftest import environment_of, own_settings

OIDC = {
    "page_login": "oidc",
    "oidc_issuer": "https://login.example",
    "oidc_client_id": "page",
    "oidc_client_secret": "O1DCSECRET",
}
PASSWORD = "correct horse battery"  # noqa: S105


@pytest.fixture
def apart_of(tmp_path: Path) -> Callable[..., Settings]:
    return lambda **given: own_settings(tmp_path / "home", **given)


@pytest.fixture
def insights(apart_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command for a stack whose page asks for passwords."""
    monkeypatch.setattr(access, "COST", (16, 8, 1))
    for name, value in environment_of(apart_of(page_login="password", page_address="https://i.example/")).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **more: CliRunner().invoke(app, ["page", *arguments], **more)


def page(settings: Settings) -> Part:
    (found,) = [part for part in daemons(settings, UpPlan()) if part.name == "page"]
    return found


def test_without_a_login_the_page_is_streamlit_alone(apart_of: Callable[..., Settings]) -> None:
    for settings in (apart_of(), apart_of(page_login="elsewhere")):
        assert "streamlit" in page(settings).command
        assert "--gated" not in page(settings).command


def test_with_a_login_the_gate_listens_where_the_page_did_and_secrets_are_on_no_command_line(
    apart_of: Callable[..., Settings],
) -> None:
    settings = apart_of(**OIDC, listen="0.0.0.0", page_address="https://i.example")
    part = page(settings)
    assert "dashboards.gate" in part.command
    assert {"--listen=0.0.0.0", f"--port={settings.page_port}", "--address=https://i.example"} <= set(part.command)
    assert "O1DCSECRET" not in " ".join(part.command)
    assert part.environment["PGPASSWORD"] not in " ".join(part.command)
    assert part.environment["INSIGHTS_OIDC_CLIENT_SECRET"] == "O1DCSECRET"
    assert "INSIGHTS_OIDC_CLIENT_SECRET" not in page(apart_of(page_login="password")).environment


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**OIDC, "oidc_issuer": None}, "INSIGHTS_OIDC_ISSUER must be set, too"),
        (
            {**OIDC, "oidc_client_secret": None, "oidc_client_id": None},
            "CLIENT_ID and INSIGHTS_OIDC_CLIENT_SECRET must",
        ),
        (
            {**OIDC, "oidc_issuer": "http://login.example"},
            "INSIGHTS_OIDC_ISSUER=http://login.example: Value error, should begin with https://",
        ),
        ({**OIDC, "page_login": "password"}, "INSIGHTS_PAGE_LOGIN must be oidc"),
        ({"page_login": "everybody"}, "INSIGHTS_PAGE_LOGIN=everybody"),
        ({"page_address": "insights.example"}, "INSIGHTS_PAGE_ADDRESS=insights.example"),
        ({"page_address": "https://insights.example/path"}, "INSIGHTS_PAGE_ADDRESS="),
    ],
)
def test_a_setting_that_is_wrong_or_missing_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(said)) as caught:
        load_settings(**{name: value for name, value in given.items() if value})
    assert "O1DCSECRET" not in str(caught.value)


def warnings(settings: Settings) -> list[str]:
    return [finding.what for finding in doctor.check_page(settings) if finding.level == "warning"]


def test_doctor_says_who_can_see_the_page(apart_of: Callable[..., Settings]) -> None:
    assert warnings(apart_of()) == []
    assert warnings(apart_of(listen="0.0.0.0", page_login="elsewhere")) == []
    assert warnings(apart_of(**OIDC)) == []
    (said,) = warnings(apart_of(listen="0.0.0.0"))
    assert re.search(r"has no login: anyone who can reach port \d+ of this machine sees it", said)


def test_doctor_says_that_nobody_can_log_in_or_that_passwords_can_be_read(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(page_login="password", listen="0.0.0.0")
    assert warnings(settings) == [
        "the page's login is not encrypted: passwords and sessions can be read on the network",
        "nobody can log in to the page, because there is no user",
    ]
    with opened(settings.page_dir) as users:
        users.put_user("anna", Role.VIEWER, PASSWORD)
    assert warnings(apart_of(page_login="password", listen="0.0.0.0", page_address="https://i.example")) == []


def test_doctor_asks_the_login_provider(apart_of: Callable[..., Settings]) -> None:
    (found,) = doctor.check_provider(apart_of(**{**OIDC, "oidc_issuer": "http://127.0.0.1:9"}))
    assert (found.level, "http://127.0.0.1:9 does not answer" in found.what) == ("error", True)
    assert list(doctor.check_provider(apart_of())) == []


def test_users_are_added_listed_and_removed(insights: Callable[..., Result]) -> None:
    assert "no users" in insights("user", "list").stdout
    added = insights("user", "add", "anna@example.com", "--role", "analyst", input=f"{PASSWORD}\n")
    assert "anna@example.com may log in with the role analyst" in added.stdout
    assert PASSWORD not in added.stdout
    assert re.search(r"anna@example.com +analyst", insights("user", "list").stdout)
    assert "can't log in any more" in insights("user", "remove", "anna@example.com").stdout
    assert "no users" in insights("user", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["user", "add", "anna", "--role", "guest"], "there is no role guest; there are viewer, analyst, operator"),
        (["user", "add", "Anna!", "--role", "viewer"], "can't be a user's name"),
        (["user", "remove", "nobody"], "there is no user nobody"),
        (["share", "nowhere"], "no dashboard is named 'nowhere'"),
        (["share", "stock", "--for", "400d"], "at most 366 days"),
        (["share", "stock", "--for", "0d"], "more than nothing"),
        (["share", "stock", "--for", "a week"], "not a length of time"),
        (["unshare", "x"], "there is no link x"),
    ],
)
def test_what_makes_no_sense_is_said(insights: Callable[..., Result], arguments: list[str], said: str) -> None:
    shown = insights(*arguments, input=f"{PASSWORD}\n")
    assert shown.exit_code == 1
    assert said in " ".join(shown.stderr.split())


def test_a_link_is_printed_once_listed_without_its_secret_and_ended(insights: Callable[..., Result]) -> None:
    made = insights("share", "stock", "--for", "12h").stdout
    found = re.search(r"https://i\.example/share/(\S+)", made)
    assert found
    listed = insights("shares").stdout
    assert "stock" in listed
    assert found[1] not in listed
    (link,) = re.findall(r"insights page unshare (\w+)", made)
    assert link in listed
    insights("unshare", link)
    assert "No dashboard is shared" in insights("shares").stdout


def test_where_the_page_has_no_login_there_is_nothing_to_share(
    apart_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(apart_of()).items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["page", "share", "stock"])
    assert "set INSIGHTS_PAGE_LOGIN first" in " ".join(shown.stderr.split())


def test_only_with_tls_are_cookies_secure(tmp_path: Path) -> None:
    found = [GateSettings(login="password", address=f"{scheme}://x", folder=tmp_path) for scheme in ("http", "https")]
    assert [(one.is_secure, one.cookie[:7]) for one in found] == [(False, "insight"), (True, "__Host-")]
