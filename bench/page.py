"""How quick the page is: every dashboard's first paint, and every statement of its cards, over a year of a shop.

    python -m bench.page --lines 2000000
    python -m bench.page --dsn postgresql://insights:insights@127.0.0.1:19432/insights

First paint is from asking for the page to the last card with its content, in a headless Chromium that has loaded the
page's scripts before, as a reader's has. A statement is asked as the page asks it, alone, as the page opens, over all
time, and with every filter set; the median of five. Needs chromium and chromedriver on the path.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.producer import machine
from bench.year import year
from dashboards.folder import Folder
from dashboards.model import Dashboard
from dashboards.query import Postgres, question
from insights import dbt_run
from tests.web.browser import DESKTOP, DRAWN, Browser, running_page, wait_until

FOLDER = Path(__file__).parents[1] / "dashboards"
ALL_TIME = {"range": "73000 days", "period": "73000 days"}
TIMES = 5
WANTED_MS = 300


def main() -> None:
    """Print both, the slowest first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=2_000_000, help="of orders, in a Postgres of its own")
    parser.add_argument("--dsn", help="of a Postgres with marts, instead")
    options = parser.parse_args()
    print(machine())
    if options.dsn:
        measure(options.dsn)
        return
    with tempfile.TemporaryDirectory() as made, year(Path(made), options.lines) as settings:
        if wrong := dbt_run.run(settings, ["run", "--full-refresh"], lambda text: None):
            raise SystemExit(f"dbt: {wrong}")
        measure(settings.postgres_dsn)


def measure(dsn: str) -> None:
    folder = Folder(FOLDER / "sales_overview.yaml")
    postgres = Postgres(dsn, connections=1, statement_timeout_seconds=60)
    (lines,) = postgres.rows(question("select count(*) as n from events.order_lines", {}))
    print(f"{lines['n']:,} order lines", flush=True)
    for name, seconds in first_paints(dsn, folder):
        print(f"first paint {name:<16} {seconds:6.2f} s", flush=True)
    timed = [found for name in folder.names for found in statements(postgres, name, folder.dashboard(name))]
    over = sum(milliseconds > WANTED_MS for milliseconds, _ in timed)
    print(f"\n{len(timed)} statements, {over} over {WANTED_MS} ms; the slowest twenty:")
    for milliseconds, what in sorted(timed, reverse=True)[:20]:
        print(f"{milliseconds:7.0f} ms  {what}")
    slowest = max((ms, what) for ms, what in timed if what.endswith("as it opens"))
    print(f"the slowest as a page opens: {slowest[0]:.0f} ms  {slowest[1]}")


def first_paints(dsn: str, folder: Folder) -> Iterator[tuple[str, float]]:
    """Seconds of each dashboard, the median of three, after one that loads the page's scripts."""
    with running_page(dsn) as address, tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile), DESKTOP, dark=False)
        try:
            browser.show(address)
            for name in folder.names:
                yield name, statistics.median(_paint(browser, f"{address}?dashboard={name}") for _ in range(3))
        finally:
            browser.chrome.quit()


def _paint(browser: Browser, url: str) -> float:
    started = time.monotonic()
    browser.chrome.get(url)
    wait_until(lambda: browser.run(DRAWN), seconds=60)
    return time.monotonic() - started


def statements(postgres: Postgres, name: str, dashboard: Dashboard) -> Iterator[tuple[float, str]]:
    """Milliseconds and what it was, for each statement of each card: as a page opens, of all time, and filtered."""
    first = {p.name: _first(postgres, dashboard, p.choices_sql) or p.default for p in dashboard.parameters}
    optional = {p.name: "" for p in dashboard.parameters if p.all}
    opened = {p.name: p.default for p in dashboard.parameters if p.default}
    kinds = {"as it opens": opened, "all time": ALL_TIME, "all time, filtered": ALL_TIME}
    for kind, chosen in kinds.items():
        values = first | ({} if kind.endswith("filtered") else optional) | chosen
        for card in dashboard.cards:
            for field, sql in card.statements.items():
                yield _milliseconds(postgres, dashboard.expanded(sql), values), f"{name}.{card.id}.{field}, {kind}"


def _first(postgres: Postgres, dashboard: Dashboard, sql: str | None) -> str:
    rows = postgres.rows(question(dashboard.expanded(sql), {})) if sql else ()
    return str(rows[0]["value"]) if rows else ""


def _milliseconds(postgres: Postgres, sql: str, values: Mapping[str, str]) -> float:
    asked, taken = question(sql, values), []
    for _ in range(TIMES):
        started = time.monotonic()
        postgres.rows(asked)
        taken.append((time.monotonic() - started) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
