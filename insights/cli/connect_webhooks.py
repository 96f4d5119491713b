"""The webhooks of a shop that is connected or removed: made and deleted at Shopify, shown for WooCommerce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insights.cli import runtime
from schemas.errors import InsightsError
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.settings import Settings
    from producers.connect.connections import Connection


def subscribe(settings: Settings, connection: Connection) -> None:
    """Have Shopify send what happens, or say why not, or how to have it. Blocks for some seconds."""
    import asyncio

    import aiohttp

    from producers.connect.shopify.api import Api

    uri = connection.hooks
    if uri is None:
        runtime.say(
            f"The shop is read every {counted(settings.connected_minutes, 'minute')}. To have orders within seconds,"
            f" connect it again with --hooks and an https address of yours that leads to {settings.hooks_url}."
        )
        return

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await Api(session, connection.url, connection.credentials, attempts=2).subscribe(uri)

    try:
        asyncio.run(ask())
    except InsightsError as problem:
        runtime.say(
            f"No webhooks: {problem}. The shop is read without them, and asked for them once a day.", style="bold red"
        )
        return
    runtime.say(f"Shopify sends changes of orders, products and customers to {uri}.")


def unsubscribe(settings: Settings, name: str) -> None:
    """Have the shop delete the webhooks that we made, or say why not. Blocks for some seconds."""
    import asyncio

    import aiohttp

    from producers.connect.connections import Connections, names
    from producers.connect.platforms import api_of

    async def ask() -> int:
        connection = Connections(settings.producers_dir).get(name)
        async with aiohttp.ClientSession() as session:
            return (
                await api_of(connection, session, attempts=2).unsubscribe(connection.hooks) if connection.hooks else 0
            )

    if name not in names(settings.producers_dir):
        return  # as its removal says
    try:
        if number := asyncio.run(ask()):
            runtime.say(f"{counted(number, 'webhook')} of the shop deleted.")
    except InsightsError as problem:
        runtime.say(f"Webhooks may be left in the shop: {problem}.", style="bold red")


def say_webhooks(settings: Settings, connection: Connection) -> None:
    """Shows where the shop should send its webhooks. This is the only time that the secret is shown."""
    runtime.say("")
    runtime.say(
        "To have orders and stock within seconds, add nine webhooks in the shop (WooCommerce > Settings > Advanced >"
        " Webhooks), for the topics created, updated and deleted, of Order, Product and Customer, each with"
    )
    runtime.say(f"  Delivery URL  {settings.hooks_url}/hooks/woocommerce/{connection.name}")
    runtime.say(f"  Secret        {connection.credentials.webhook_secret}")
    runtime.say("  API version   WP REST API Integration v3")
    runtime.say(
        "A shop on another machine needs an https address of yours that leads to that port in place of"
        f" {settings.hooks_url}. The secret is not shown again. Without webhooks the shop is read every"
        f" {counted(settings.connected_minutes, 'minute')}."
    )
    runtime.say("")
