"""The list of sources: a module each, and a line here, which also states whether the stack runs it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from producers.runner import Run, Source
from schemas.catalogue import avro_events
from schemas.errors import Misconfigured


def _source(
    name: str, run: str, events: tuple[str, ...], summary: str, *, in_stack: tuple[str, ...] | None = None
) -> Source:
    def load_and_run(this: Run) -> None:
        # Loaded when it runs: a scraper's libraries are no business of a process that simulates orders.
        module, _, function = run.partition(":")
        entry: Callable[[Run], None] = getattr(import_module(module), function)
        entry(this)

    return Source(name=name, events=events, summary=summary, run=load_and_run, in_stack=in_stack)


SALES = ("sales.order_placed", "sales.order_refunded")
CANCELLATIONS = ("sales.order_cancelled",)
CUSTOMERS = ("customers.customer_changed",)
CLICKS = ("web.interaction",)
STOCK = ("inventory.stock_moved",)
COSTS = ("finance.cost_stated", "finance.fee_charged")
FINANCE = (*COSTS, "marketing.spend_stated")
RATES = ("finance.rate_published",)
CATALOG = ("catalog.product_observed",)
GATED = tuple(each.name for each in avro_events() if each.ingress_days)
EDITS = ("public.wiki_edited",)
POSITIONS = ("public.vehicle_moved",)
SHOP = "producers.shop.source:run"

SOURCES = (
    _source(
        "shop", SHOP, (*SALES, *CUSTOMERS, *CLICKS, *STOCK, *FINANCE), "the complete synthetic shop in one process"
    ),
    _source("orders", "producers.orders:run", SALES, "orders and refunds, synthetic or --from-file"),
    _source("customers", SHOP, CUSTOMERS, "the shop's customers: sign-ups and changes"),
    _source("clickstream", SHOP, CLICKS, "what visitors do on the shop's website"),
    _source("stock", SHOP, STOCK, "stock movements in the shop's warehouses"),
    _source("finance", "producers.finance:run", FINANCE, "costs, payment fees and ad spend, synthetic or --from-file"),
    _source("rates", "producers.rates.source:run", RATES, "the European Central Bank's exchange rates, over HTTP"),
    _source(
        "connections",
        "producers.connect.source:run",
        (*SALES, *CANCELLATIONS, *CUSTOMERS, *CATALOG, *STOCK, *COSTS),
        "orders, products, stock, customers and costs of connected shops",
    ),
    _source("collect", "producers.collect.source:run", CLICKS, "what visitors do on real shops' pages, over HTTP"),
    _source("gate", "producers.gate.source:run", GATED, "what other programs publish to ingress topics, checked"),
    _source(
        "dlt",
        "producers.pipelines.source:run",
        (*SALES, *CATALOG, *CUSTOMERS, *STOCK),
        "what a source of dlt reads: a database, an API",
    ),
    _source("catalog", "producers.catalog:run", CATALOG, "product pages of a shop, read over HTTP"),
    _source("wiki", "producers.wiki.source:run", EDITS, "edits of Wikimedia's wikis, from their public stream"),
    _source("vehicles", "producers.vehicles.source:run", POSITIONS, "vehicles' positions from GTFS-Realtime feeds"),
)


def source(name: str) -> Source:
    """The source called ``name``. Raises Misconfigured listing those there are."""
    for candidate in SOURCES:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in SOURCES)
    raise Misconfigured(f"there is no source {name!r}; the sources are {known}")
