"""``insights page``: who may log in to the live page, and links to one dashboard of it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings
from schemas.errors import Misconfigured

if TYPE_CHECKING:
    from insights.cli.terminal_table import TerminalTable

LONGEST_DAYS = 366
app = runtime.group(
    "Users of the live page, and shared links to it.", example="insights page user add anna --role viewer"
)
user = runtime.group("Who may log in to the page with a password.", example="insights page user list")
app.add_typer(user, name="user")
UserName = Annotated[str, typer.Argument(metavar="NAME", help="What they log in with, for example anna@example.com.")]
UserRole = Annotated[
    str,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="viewer: dashboards; analyst: also downloads rows; operator: also Operations, Replays and Agreement.",
    ),
]
Shared = Annotated[str, typer.Argument(metavar="DASHBOARD", help="Its name in the page's address, for example stock.")]
Length = Annotated[str, typer.Option("--for", metavar="LENGTH", help="How long the link is valid: 12h, 7d.")]
LinkId = Annotated[str, typer.Argument(metavar="ID", help="The link's id in `insights page shares`.")]


@user.command("add")
def add_user(name: UserName, role: UserRole) -> None:
    """Add a user, or give one another role and password, which ends that user's sessions.

    Asks for the password twice; without a terminal, reads it from the first line of the input.

    Example: insights page user add anna@example.com --role analyst
    """
    from dashboards.gate.access import opened, role_of

    settings, wanted = _with_folder(), role_of(role)
    with opened(settings.page_dir) as access:
        access.put_user(name, wanted, _password())
    runtime.say(f"{name} may log in with the role {wanted}.", style="bold green")
    if settings.page_login != "password":
        runtime.say("The page asks for passwords once INSIGHTS_PAGE_LOGIN is password.", style="yellow")


@user.command("list")
def list_users() -> None:
    """List the users and their roles.

    Example: insights page user list
    """
    from dashboards.gate.access import opened

    with opened(_with_folder().page_dir) as access:
        users = access.users()
    if not users:
        runtime.say("There are no users; `insights page user add NAME --role operator` adds one.")
        return
    sheet = _table("users of the page", "role")
    for each in users:
        sheet.add(each.name, each.role)
    runtime.show(sheet)


@user.command("remove")
def remove_user(name: UserName) -> None:
    """Remove a user, which ends that user's sessions.

    Example: insights page user remove anna@example.com
    """
    from dashboards.gate.access import opened

    with opened(_with_folder().page_dir) as access:
        access.remove_user(name)
    runtime.say(f"{name} can't log in any more.")


@app.command()
def share(dashboard: Shared, length: Length = "7d") -> None:
    """Print a link to one dashboard. Anyone who has it sees that dashboard until it expires, without a login.

    Example: insights page share stock --for 7d
    """
    from dashboards.folder import Folder
    from dashboards.gate.access import opened
    from dashboards.launch import VIEWER
    from insights.stack.page import page_address

    settings = _with_folder()
    if not settings.has_gate:
        raise Misconfigured(
            "the page has no login of its own, so its address is the link: set INSIGHTS_PAGE_LOGIN first"
        )
    name = Folder(VIEWER.with_name("sales_overview.yaml")).chosen(dashboard)
    until = time.time() + _seconds(length)
    with opened(settings.page_dir) as access:
        made = access.share(name, until)
    runtime.say(f"{page_address(settings)}/share/{made.token}")
    runtime.say("")
    runtime.say(f"It shows {name} until {_moment(made.expires_at)} to anyone who has it, and is not shown again.")
    runtime.say(f"`insights page unshare {made.id}` ends it before.")


@app.command()
def shares() -> None:
    """List the links that are valid, without the secret in them.

    Example: insights page shares
    """
    from dashboards.gate.access import opened

    with opened(_with_folder().page_dir) as access:
        found = access.shares(time.time())
    if not found:
        runtime.say("No dashboard is shared; `insights page share DASHBOARD` makes a link.")
        return
    sheet = _table("shared links", "dashboard", "until")
    for each in found:
        sheet.add(each.id, each.dashboard, _moment(each.expires_at))
    runtime.show(sheet)


@app.command()
def unshare(link: LinkId) -> None:
    """End a link, also for those who are looking at it.

    Example: insights page unshare 3f2a9c10
    """
    from dashboards.gate.access import opened

    with opened(_with_folder().page_dir) as access:
        access.revoke(link)
    runtime.say(f"The link {link} is not valid any more.")


def _with_folder() -> Settings:
    settings = load_settings()
    settings.run_dir.mkdir(parents=True, exist_ok=True)  # by it `insights clean` knows the folder
    return settings


def _seconds(length: str) -> float:
    from schemas.duration import length_of_time

    try:
        seconds = length_of_time(length).total_seconds()
    except (ValueError, OverflowError) as error:
        raise Misconfigured(f"--for: {error}") from error
    if not 0 < seconds <= LONGEST_DAYS * 86_400:
        raise Misconfigured(f"--for {length}: should be more than nothing and at most {LONGEST_DAYS} days")
    return seconds


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _table(title: str, *columns: str) -> TerminalTable:
    from insights.cli.terminal_table import Column, TerminalTable

    return TerminalTable(title, Column(), *(Column(name=name) for name in columns))


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
