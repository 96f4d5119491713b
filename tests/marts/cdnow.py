"""CDNOW, a real shop's history that papers have counted: its file as events, and what was published about it.

The file is the master data set of Fader and Hardie's notes (brucehardie.com/notes/026): all purchases up to the end of
June 1998 of the 23,570 people who came in the first quarter of 1997. It lies inside the package ``lifetimes``, which is
locked in requirements/cdnow.txt and never imported, with the 1/10th sample's inputs for the BG/NBD model.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from math import exp, lgamma, log
from pathlib import Path
from typing import Any

from schemas.catalogue import event

ORDERS, CUSTOMERS, CDS, DOLLARS = 69_659, 23_570, 167_881, Decimal("2500315.63")
CALIBRATED_UNTIL = date(1997, 9, 30)
"""The sample is observed for 39 weeks."""

# Fader, Hardie and Lee, "Counting Your Customers" the Easy Way, Marketing Science 24 (2005): the model's parameters
# r, alpha, a, b for the sample, and their log-likelihood. Its customers came back 2,457 times.
ESTIMATES = (0.243, 4.414, 0.793, 2.426)
LOG_LIKELIHOOD = -9582.4
SAMPLED, REPEATS = 2_357, 2_457


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the model is fed of one customer. Weeks, with two digits; the mean of the repeat purchases in dollars."""

    frequency: int
    recency_weeks: Decimal
    t_weeks: Decimal
    monetary_value: Decimal


def folder() -> Path:
    package = find_spec("lifetimes")
    assert package is not None, "lifetimes is not installed; `make test` installs it"
    assert package.origin is not None
    return Path(package.origin).parent / "datasets"


def orders(until: date | None = None) -> list[dict[str, Any]]:
    """Each row as the event of an order, oldest first; with ``until``, those up to that day."""
    found = []
    for number, line in enumerate((folder() / "CDNOW_master.txt").read_text().splitlines()[1:]):
        customer, day, cds, dollars = line.split()
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
        if until is None or at.date() <= until:
            found.append(_order(number, customer, at, int(cds), Decimal(dollars)))
    return sorted(found, key=lambda order: order["occurred_at"])


def _order(number: int, customer: str, at: datetime, cds: int, dollars: Decimal) -> dict[str, Any]:
    return {
        **{field["name"]: None for field in event("sales.order_placed").avro_schema["fields"]},
        "event_id": f"row {number}",
        "source": "cdnow",
        "occurred_at": at,
        "order_id": f"{number:05}",
        "customer_id": customer,
        "region": "NA",
        "currency": "USD",
        "channel": "web",
        "session_id": None,
        "lines": [
            {
                "product_id": "cd",
                "category": "Music",
                "brand": None,
                "quantity": units,
                "unit_price": price,
                "discount_amount": Decimal(0),
            }
            for units, price in _priced(cds, dollars)
        ],
        "shipping_amount": Decimal(0),
        "tax_amount": Decimal(0),
    }


def _priced(cds: int, dollars: Decimal) -> list[tuple[int, Decimal]]:
    """Units and prices in whole cents that come to the amount: some cost a cent more than others."""
    cents, dearer = divmod(int(dollars * 100), cds)
    priced = ((cds - dearer, cents), (dearer, cents + 1))
    return [(units, Decimal(price).scaleb(-2)) for units, price in priced if units]


def sample() -> dict[str, Inputs]:
    """The published inputs of the 1/10th sample, by the customer's number in the master data set."""
    master = {}
    for line in (folder() / "CDNOW_sample.txt").read_text().splitlines():
        number, number_in_sample, *_ = line.split()
        master[int(number_in_sample)] = number
    with (folder() / "cdnow_customers_summary_with_transactions.csv").open(newline="") as file:
        return {
            master[int(row["ID"])]: Inputs(
                frequency=int(row["x"]),
                recency_weeks=Decimal(row["t_x"]),
                t_weeks=Decimal(row["T"]),
                monetary_value=Decimal(row["zbar"]),
            )
            for row in csv.DictReader(file)
        }


def log_likelihood(frequency: int, recency: float, t: float) -> float:
    """Of one customer, under the published parameters (equation 6 of the paper). Times in weeks."""
    r, alpha, a, b = ESTIMATES
    x = frequency
    of_counts = lgamma(r + x) - lgamma(r) + r * log(alpha)
    of_staying = lgamma(a + b) + lgamma(b + x) - lgamma(b) - lgamma(a + b + x)
    still_there = exp(-(r + x) * log(alpha + t))
    has_left = a / (b + x - 1) * exp(-(r + x) * log(alpha + recency)) if x else 0.0
    return of_counts + of_staying + log(still_there + has_left)
