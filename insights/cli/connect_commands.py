"""``insights connect``: a real shop's orders, instead of the synthetic shop's."""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import agree_command, connect_webhooks, runtime, shop_zone_command
from insights.settings import Settings, load_settings
from schemas.errors import Misconfigured
from schemas.plural import counted

if TYPE_CHECKING:
    from producers.connect.asking import About
    from producers.connect.connections import Connection, Credentials

FROM = {"shopify": 59, "woocommerce": 365}  # days that are read if nobody says otherwise
app = runtime.group(
    "Connect your own shop: orders, products, stock, customers.", example="insights connect woocommerce"
)
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The shop's address, for example https://bikes.example.")
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="FILE",
        help="A file with the key (or client ID) and its secret; - reads standard input.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="DATE", help="Read orders placed since this date, for example 2025-01-01."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name for the shop here. Default: derived from its address."),
]
Hooks = Annotated[
    str | None,
    typer.Option("--hooks", metavar="URL", help="Your https address that forwards to the webhook receiver."),
]
KeepWebhooks = Annotated[
    bool, typer.Option("--keep-webhooks", help="Leave the webhooks in the shop: another installation gets them.")
]
OrdersFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file of orders.")]
OrdersMapping = Annotated[
    Path,
    typer.Option(
        metavar="FILE|NAME|auto", help="A TOML column mapping, the name of a built-in one, or auto to detect it."
    ),
]
ShopName = Annotated[str, typer.Argument(metavar="NAME", help="The shop's name in `insights connect list`.")]


@app.command()
def woocommerce(url: Url = None, credentials: CredentialsFile = None, since: Since = None, name: Name = None) -> None:
    """Connect a WooCommerce shop. Asks for what you leave out, and checks the shop before it saves anything.

    Example: insights connect woocommerce --url https://bikes.example --from 2025-01-01
    """
    from producers.connect.asking import address

    settings = load_settings()
    check_has_no_synthetic_past(settings)
    where = address(url or typer.prompt("Address of the shop"))
    secrets = credentials_of(credentials)
    connection = connect(settings, "woocommerce", where, secrets, since, name)
    connect_webhooks.say_webhooks(settings, connection)
    follow(settings)


@app.command()
def shopify(
    url: Url = None, credentials: CredentialsFile = None, since: Since = None, name: Name = None, hooks: Hooks = None
) -> None:
    """Connect a Shopify shop. Asks for what you leave out, and checks the shop before it saves anything.

    Example: insights connect shopify --url bikes.myshopify.com --from 2026-10-01
    """
    from producers.connect.shopify.api import address

    settings = load_settings()
    check_has_no_synthetic_past(settings)
    where = address(url or typer.prompt("Address of the shop, which ends with .myshopify.com"))
    secrets = app_credentials_of(credentials)
    connection = connect(settings, "shopify", where, secrets, since, name, hooks)
    connect_webhooks.subscribe(settings, connection)
    follow(settings)


@app.command()
def csv(file: OrdersFile, mapping: OrdersMapping = Path("auto")) -> None:
    """Start the stack with the orders in your shop software's export file instead of the synthetic shop's.

    Detects which software exported the file, and asks you to confirm.

    Example: insights connect csv orders.csv
    """
    from insights.cli.main import up
    from insights.stack.states import supervisor_process

    settings = load_settings()
    check_has_no_synthetic_past(settings)
    if not file.expanduser().is_file():
        raise Misconfigured(f"{file} is not a file; give the file of orders that the shop's software exported")
    if supervisor_process(settings) is not None:
        raise Misconfigured(
            "the stack runs already. `insights produce orders --from-file FILE --mapping auto` adds the file's orders"
            " to what it shows; to show them alone, choose another folder with INSIGHTS_HOME"
        )
    up(history=str(file.expanduser()), mapping=mapping)


def connect(
    settings: Settings,
    platform: str,
    url: str,
    credentials: Credentials,
    since: str | None,
    name: str | None,
    hooks: str | None = None,
) -> Connection:
    """Look at the shop, keep the connection, and say so. Raises Misconfigured, ShopRefuses or ShopAway."""
    from insights.shop_currency import keep_currency
    from producers.connect.connections import Connections, name_of
    from producers.connect.zones import note_said

    start = day(
        since or typer.prompt("Orders from when on", default=f"{date.today() - timedelta(days=FROM[platform])}")
    )
    about = look_at(platform, url, credentials)
    check_currency(settings, about)
    check_reaches_back(about, start)
    keep_currency(settings)
    settings.run_dir.mkdir(parents=True, exist_ok=True)  # by it `insights clean` knows the folder
    connection = Connections(settings.producers_dir).add(
        name=(called := name or name_of(url)),
        platform=platform,
        url=url,
        since=start,
        credentials=credentials,
        hooks=hooks and f"{hooks.rstrip('/')}/hooks/{platform}/{called}",
    )
    runtime.say(
        f"{about.title} is connected as {connection.name}. It has {counted(about.orders, 'order')}, in"
        f" {about.currency}; those since {start:%Y-%m-%d} are read.",
        style="bold green",
    )
    if about.lacks:
        runtime.say(f"Its orders are read; {about.lacks}.", style="bold red")
    note_said(settings.producers_dir, connection.name, about.time_zone)
    say_time_zone(settings, connection)
    return connection


@app.command("list")
def list_() -> None:
    """List the connected shops, and how far each has been read.

    Example: insights connect list
    """
    from insights.cli import connect_views
    from insights.shop_zones import shown_zones, unknown_zone_note
    from producers.connect.connections import Connections, names
    from producers.connect.memory import progress
    from producers.persons.requests import requests

    settings = load_settings()
    folder = settings.producers_dir
    found = [Connections(folder).get(name) for name in names(folder)]
    if not found:
        runtime.say("No shop is connected; `insights connect shopify` or `insights connect woocommerce` connects one.")
        return
    shops = [(each, progress(folder, each.name)) for each in found]
    runtime.show(connect_views.connections_table(shops, shown_zones(settings)))
    for note in filter(None, (unknown_zone_note(settings, shop.name) for shop in found)):
        runtime.say(note, style="yellow")
    for line in connect_views.not_read(shops):
        runtime.say(line, style="bold red")
    if number := sum(each.answered_ms is None for each in requests(folder)):
        asked = f"{counted(number, 'request')} about persons to answer: `insights privacy requests`."
        runtime.say(asked, style="bold red")


app.command("zone")(shop_zone_command.zone)


@app.command()
def remove(name: ShopName, keep_webhooks: KeepWebhooks = False) -> None:
    """Disconnect a shop: stop reading its orders, and destroy its credentials. What was counted stays.

    Deletes the webhooks to the address that `insights connect shopify --hooks`
    gave, unless --keep-webhooks: in a copy of the data folder, they are the
    original's.

    Example: insights connect remove bikes
    """
    from insights.stack.control import follow_connections
    from insights.stack.states import supervisor_process
    from producers.connect.connections import Connections, names
    from producers.persons.requests import answer

    settings = load_settings()
    if not keep_webhooks:
        connect_webhooks.unsubscribe(settings, name)
    Connections(settings.producers_dir).remove(name)
    answer(settings.producers_dir, "remove", {name}, int(time.time() * 1000))
    runtime.say(
        f"{name} is removed, and its credentials are destroyed. Delete its key and the webhooks that you made there, or"
        " its app."
    )
    if supervisor_process(settings) is None:
        return
    agree_command.note_shops(settings)
    if not names(settings.producers_dir):
        follow_connections(settings, lambda step: None, connected=False)


def check_has_no_synthetic_past(settings: Settings) -> None:
    """Raises Misconfigured if the data folder has the synthetic shop's sales: a real shop's would be added to them."""
    from producers.shop.shop_state import published_until

    if published_until(settings.producers_dir / "shop.sqlite") is not None:
        raise Misconfigured(
            f"the data in {settings.home} are the synthetic shop's, and your shop's would be added to them. Remove them"
            " with `insights clean`, or choose another folder with INSIGHTS_HOME; then connect the shop again"
        )


def credentials_of(file: Path | None) -> Credentials:
    """The key and the secret, from a file or asked for without showing them. Raises Misconfigured."""
    import secrets

    from producers.connect.connections import Credentials

    words = words_of(file, "Consumer key and secret, with a space between them (not shown)")
    if len(words) != 2 or not words[0].startswith("ck_") or not words[1].startswith("cs_"):
        raise Misconfigured(
            "a consumer key begins with ck_, and its secret with cs_; give both, with a space or a new line between"
            " them. WooCommerce > Settings > Advanced > REST API makes them, with the permission to read"
        )
    return Credentials(key=words[0], secret=words[1], webhook_secret=secrets.token_urlsafe(32))


def app_credentials_of(file: Path | None) -> Credentials:
    """The ID and the secret of an app, which also signs its webhooks; as ``credentials_of``. Raises Misconfigured."""
    from producers.connect.connections import Credentials

    words = words_of(file, "Client ID and secret of the app, with a space between them (not shown)")
    if len(words) != 2:
        raise Misconfigured(
            "give the client ID and the secret of the app, with a space or a new line between them: the Dev Dashboard"
            " (dev.shopify.com) has both under Settings of the app. For an app that was created in the shop's"
            " own admin, give the access token (shpat_…) and the API secret key"
        )
    return Credentials(key=words[0], secret=words[1], webhook_secret=words[1])


def words_of(file: Path | None, question: str) -> list[str]:
    """The words in a file, from standard input, or entered at a prompt. Raises Misconfigured."""
    if file is None:
        return str(typer.prompt(question, hide_input=True)).split()
    if str(file) == "-":
        return sys.stdin.read().split()
    try:
        return file.expanduser().read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} can't be read: {error}") from error


def day(text: str) -> datetime:
    """The beginning of a day, UTC. Raises Misconfigured for anything else."""
    try:
        return datetime.combine(date.fromisoformat(text.strip()), datetime.min.time(), UTC)
    except ValueError as error:
        raise Misconfigured(f"{text!r} is not a date; write it as 2025-01-01") from error


def look_at(platform: str, url: str, credentials: Credentials) -> About:
    """What the shop says of itself. Blocks for some seconds. Raises Misconfigured, ShopRefuses or ShopAway."""
    import asyncio

    import aiohttp

    from producers.connect.platforms import PLATFORMS

    async def look() -> About:
        async with aiohttp.ClientSession() as session:
            return await PLATFORMS[platform].opened(session, url, credentials, attempts=2).about()

    return asyncio.run(look())


def check_reaches_back(about: About, start: datetime) -> None:
    """Raises Misconfigured when older orders are wanted than the shop's API gives."""
    if about.days is None:
        return
    oldest = datetime.now(UTC) - timedelta(days=about.days)
    if start < oldest:
        raise Misconfigured(
            f"{about.title} lets the app read the orders of the last {about.days} days only, and {start:%Y-%m-%d} is"
            f" before. Add the scope read_all_orders to the app and install it again, or use --from {oldest:%Y-%m-%d}"
            " or later"
        )


def check_currency(settings: Settings, about: About) -> None:
    """Raises Misconfigured when the shop sells in another currency than the data folder's, or in one of thousandths."""
    from insights.shop_currency import currency_of
    from schemas.currency import problem_as_shops

    if why := problem_as_shops(about.currency):
        raise Misconfigured(f"{about.title} sells in {about.currency}, which can't be connected: it {why}")
    here = currency_of(settings)
    if about.currency != here:
        raise Misconfigured(
            f"{about.title} sells in {about.currency}, and {settings.home} is for {here}: amounts in two currencies"
            f" can't be added. Set INSIGHTS_CURRENCY={about.currency}, and another data folder with INSIGHTS_HOME"
        )


def say_time_zone(settings: Settings, connection: Connection) -> None:
    """In which days the shop's own numbers are, and which command has all shops together in them."""
    from insights.shop_zones import unknown_zone_note, zone_of
    from insights.shops_clock import clock_of

    if note := unknown_zone_note(settings, connection.name):
        runtime.say(note, style="yellow")
    here, there = clock_of(settings.home).zone, zone_of(settings, connection.name)
    if (there and there.offsets) == (here and here.offsets):
        return
    name = there.name if there else "UTC"
    runtime.say(
        f"The shop's own daily totals, and the comparison with the shop, are in days of {name}. The tables, over all"
        f" shops, are in days of {here.name if here else 'UTC'}: `insights time-zone {name}` changes that.",
        style="yellow",
    )


def follow(settings: Settings) -> None:
    """Have a running stack follow the shop, or say how to start one."""
    from insights.cli import progress
    from insights.stack.control import follow_connections
    from insights.stack.states import supervisor_process

    if supervisor_process(settings) is None:
        runtime.say("`insights up` starts everything and shows the shop's numbers when its history is counted.")
        return
    with progress.steps(runtime.out) as report:
        follow_connections(settings, report, connected=True)
    agree_command.note_shops(settings)
    runtime.say(f"Its history is being read; `insights connect list` says how far. The page: {settings.page_url}")
