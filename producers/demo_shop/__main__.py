"""``python -m producers.demo_shop --port 19300 --seed 1``: serves the shop on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import argparse
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from producers.demo_shop.shelf import Shelf, StockAt, imagined_stock
from producers.demo_shop.web_server import Site
from producers.shop.assortment import Product
from producers.shop.shop_state import stock_levels

HOST = "127.0.0.1"
STOCK_SECONDS = 2.0


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


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m producers.demo_shop", description=main.__doc__)
    parser.add_argument("--port", type=int, default=19300)
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic shop whose products these are")
    parser.add_argument("--currency", default="EUR", help="what it sells for, by ISO 4217")
    parser.add_argument("--state", type=Path, help="folder where the synthetic shop's source keeps its stock levels")
    parser.add_argument("--crawl-delay", type=float, default=0.05, help="seconds between two requests, for robots.txt")
    options = parser.parse_args()
    shelf = Shelf(options.seed, stock_of(options.state and options.state / "shop.sqlite"), options.currency)
    site = Site(shelf, f"http://{HOST}:{options.port}", lambda: datetime.now(UTC), options.crawl_delay)
    web.run_app(site.application(), host=HOST, port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
