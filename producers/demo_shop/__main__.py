"""``python -m producers.demo_shop --port 19300 --seed 1``: serves the shop on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import argparse
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from producers.collect import keys
from producers.demo_shop.pages import Tracker
from producers.demo_shop.shelf import Shelf, StockAt, imagined_stock
from producers.demo_shop.web_server import Site
from producers.shop.assortment import Product
from producers.shop.shop_state import stock_levels

HOST = "127.0.0.1"
STOCK_SECONDS = 2.0
KEY = "demo-shop"


def stock_of(path: Path | None) -> StockAt:
    """Units from the running shop's state file, read again every two seconds; invented while there is none."""
    read_at, levels = float("-inf"), dict[str, int]()

    def stock_at(product: Product, at: datetime) -> int:
        nonlocal read_at, levels
        if path is not None and time.monotonic() - read_at > STOCK_SECONDS:
            read_at = time.monotonic()
            # A shop that was killed while it made the file; then the last levels stay.
            with suppress(sqlite3.OperationalError):
                levels = stock_levels(path)
        return max(levels[product.product_id], 0) if product.product_id in levels else imagined_stock(product, at)

    return stock_at


def tracker(folder: Path, collector: str, base: str) -> Tracker:
    """The tracker with the demo shop's own key, which is made when it is missing or for another address."""
    key = next((key for key in keys.listed(folder) if key.name == KEY), None)
    if key is not None and key.origins != {base}:
        keys.remove(folder, KEY)
        key = None
    key = key or keys.add(folder, KEY, [base])
    return Tracker(script=f"{collector}/v1/tracker.js", key=key.key)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m producers.demo_shop", description=main.__doc__)
    parser.add_argument("--port", type=int, default=19300)
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic shop whose products these are")
    parser.add_argument("--currency", default="EUR", help="what it sells for, by ISO 4217")
    parser.add_argument("--state", type=Path, help="folder where the synthetic shop's source keeps its stock levels")
    parser.add_argument("--crawl-delay", type=float, default=0.05, help="seconds between two requests, for robots.txt")
    parser.add_argument("--collector", help="address of the collector that visitors' events go to; needs --state")
    options = parser.parse_args()
    shelf = Shelf(options.seed, stock_of(options.state and options.state / "shop.sqlite"), options.currency)
    base = f"http://{HOST}:{options.port}"
    tracked = tracker(options.state, options.collector, base) if options.collector and options.state else None
    site = Site(shelf, base, lambda: datetime.now(UTC), options.crawl_delay, tracked)
    web.run_app(site.application(), host=HOST, port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
