"""``insights produce catalog --check``: what would be read of a shop or of one of its pages. Publishes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import typer

from producers.runner import Options
from producers.scraping import addresses, feed, profiles
from producers.scraping.fetching import TRIES, FetchFailed, HttpFetch, Pace
from producers.scraping.listings import Listings
from producers.scraping.page import OtherPage, UnreadablePage, parse_product
from producers.scraping.profiles import WOOCOMMERCE, Profile
from producers.scraping.site import Rules, rules_of, shop_address
from producers.scraping.sitemaps import BadSitemap, Sitemaps
from schemas.errors import Misconfigured

SAMPLE: Final = 3
LONGEST: Final = 300
NOT_SHOWN: Final = ("trace", "occurred_at", "content_hash")
REFUSED: Final = 1


def show(options: Options) -> int:
    """Print what would be published of ``options.url``: a product page, a shop (three of its pages), or a feed.

    Blocks for some requests. Returns the exit code: 0 when each page has a product. Raises FetchFailed, BadFeed and
    Misconfigured.
    """
    return asyncio.run(_show(options))


async def _show(options: Options) -> int:
    url = options.url or ""
    parts = shop_address(url)
    base = f"{parts.scheme}://{parts.netloc}"
    reach = addresses.public_or_private if options.private else addresses.public
    async with addresses.session(reach) as session:
        fetch = HttpFetch(session, Pace(0.5, time.monotonic), contact=options.contact or "", tries=TRIES)
        rules = await rules_of(base, fetch)
        fetch.allows = rules.allows
        fetch.pace.slow_down_to(rules.crawl_delay_seconds)
        typer.echo(f"robots.txt      {rules.crawl_delay_seconds:g} s between requests; sitemaps: {len(rules.sitemaps)}")
        if parts.path == feed.PATH:
            return await _feed(base, fetch)
        return await _pages(options, base, fetch, rules)


async def _pages(options: Options, base: str, fetch: HttpFetch, rules: Rules) -> int:
    url = options.url or ""
    is_shop = urlsplit(url).path in ("", "/")
    if not rules.allows(url):
        raise Misconfigured(f"{url}: the site's robots.txt forbids to read it")
    page = await fetch(url)
    profile, how = _profile(options, page.text, base)
    typer.echo(f"shop software   {profile.name} ({how})")
    if not is_shop:
        return _shown(page.text, page.at, profile)
    worst, seen = 0, 0
    async for product in _sample(base, rules, profile, fetch):
        seen += 1
        found = await fetch(product)
        worst = max(worst, _shown(found.text, found.at, profile))
        if seen == SAMPLE:
            return worst
    if not seen:
        typer.echo("no product pages were found")
    return worst if seen else REFUSED


def _profile(options: Options, html: str, base: str) -> tuple[Profile, str]:
    found = profiles.profile_of(html, base)
    profile = profiles.named(options.profile) if options.profile else found or WOOCOMMERCE
    how = "as asked for" if options.profile else "by its marks" if found else "no marks were found; this is the default"
    return (replace(profile, product_path=options.product_path) if options.product_path else profile), how


async def _sample(base: str, rules: Rules, profile: Profile, fetch: HttpFetch) -> AsyncIterator[str]:
    warn = typer.echo
    with suppress(BadSitemap):
        async for url in Sitemaps(base, rules, profile.product_path, fetch, warn).products():
            yield url
        return
    typer.echo("no sitemap can be read: products are found on the pages that list them")
    async for url in Listings(base, rules, profile, fetch, warn).products():
        yield url


async def _feed(base: str, fetch: HttpFetch) -> int:
    try:
        currency = feed.currency_of((await fetch(f"{base}/")).text)
    except FetchFailed:
        currency = None
    url = base + feed.PAGE_OF.format(1)
    found = feed.products((await fetch(url, most_bytes=feed.LARGEST_BYTES)).body or b"", url)
    typer.echo(f"feed            {len(found)} products on its first page; currency: {currency or 'not found'}")
    addressed = [(feed.address_of(product, base), product) for product in found[:SAMPLE]]
    pages = [(feed.page_of(product, address, currency), address) for address, product in addressed]
    return max((_shown(html, address, profiles.SHOPIFY) for html, address in pages), default=REFUSED)


def _shown(html: str, url: str, profile: Profile) -> int:
    typer.echo(f"\n{url}")
    try:
        record = parse_product(html, url, datetime.now(UTC), profile)
    except UnreadablePage as error:
        typer.echo(f"  would be a dead letter: {error}")
        return REFUSED
    except OtherPage as error:
        typer.echo(f"  would be left out: {error}")
        return REFUSED
    for name, value in record.items():
        if name not in NOT_SHOWN:
            typer.echo(f"  {name:<15} {_text(value)}")
    return 0


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return "-"
    match value:
        case Mapping():
            text = "; ".join(f"{name}: {inner}" for name, inner in value.items())
        case [{**_keys}, *_]:
            text = "; ".join(" ".join(str(v) for v in each.values() if v is not None) for each in value)
        case list():
            text = " > ".join(map(str, value))
        case _:
            text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
