"""The marts of the folder catalog."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.marts.oracle.exact import cents, day, mean_money, money, ratio
from tests.marts.oracle.history import History, Line, Order, Record, Row, category_seen
from tests.marts.oracle.listed import mart

ONE_DAY = timedelta(days=1)
COVER_DAYS = 28


@mart("product_id")
def dim_products(h: History) -> list[Row]:
    seen = [_seen(h, looks) for looks in h.pages.values()]
    return seen + [_as_sold(*sale) for product, sale in h.last_sold.items() if product not in h.pages]


def _seen(h: History, looks: list[Record]) -> Row:
    newest = looks[-1]
    as_it_says = ("product_id", "shop", "sku", "name", "brand", "price", "list_price", "currency", "availability")
    return {
        **{column: newest[column] for column in (*as_it_says, "stock_quantity", "url")},
        "category": category_seen(newest),
        "price_currency": h.price_currency_of(newest["product_id"]),
        "first_seen_at": looks[0]["occurred_at"],
        "last_seen_at": newest["occurred_at"],
        "has_history": True,
    }


def _as_sold(order: Order, line: Line) -> Row:
    unknown = ("shop", "sku", "name", "list_price", "availability", "stock_quantity", "url")
    return {
        **dict.fromkeys(unknown),
        "product_id": line.product_id,
        "brand": line.brand,
        "category": line.category,
        "price": money(line.unit_price),
        "currency": order.currency,
        "price_currency": order.currency,
        "first_seen_at": None,
        "last_seen_at": None,
        "has_history": False,
    }


@mart("shop", "product_id", "currency", "valid_from")
def price_history(h: History) -> list[Row]:
    at_moment: dict[tuple[str, str, str], dict[datetime, Record]] = defaultdict(dict)
    for look in sorted(h.looks, key=lambda e: e["event_id"]):
        at_moment[look["shop"], look["product_id"], look["currency"]][look["occurred_at"]] = look
    return [row for looks in at_moment.values() for row in _prices([looks[at] for at in sorted(looks)])]


def _prices(looks: list[Record]) -> list[Row]:
    """Of these looks at a page, of one currency: the first, and those that saw another price than the look before."""
    rows: list[Row] = []
    for look in looks:
        previous = rows[-1]["price"] if rows else None
        if look["price"] == previous:
            continue
        if rows:
            rows[-1]["valid_to"] = look["occurred_at"]
        change = None if previous is None else money(cents(look["price"]) - cents(previous))
        rows.append(
            {
                "shop": look["shop"],
                "product_id": look["product_id"],
                "name": look["name"],
                "category": category_seen(look),
                "price": look["price"],
                "previous_price": previous,
                "currency": look["currency"],
                "valid_from": look["occurred_at"],
                "valid_to": None,
                "change_amount": change,
                "change_share": _change_share(previous, look["price"]),
            }
        )
    return rows


@mart("day", "product_id")
def price_vs_sales(h: History) -> list[Row]:
    sold: dict[tuple[date, str], list[Line]] = defaultdict(list)
    for order in h.orders:
        for line in order.lines:
            sold[order.day, line.product_id].append(line)
    changes: dict[tuple[date, str], int] = defaultdict(int)
    for row in price_history(h):
        is_own = row["shop"] == h.pages[row["product_id"]][-1]["shop"]
        is_own = is_own and row["currency"] == h.price_currency_of(row["product_id"])
        if is_own and row["previous_price"] is not None:
            changes[day(row["valid_from"]), row["product_id"]] += 1
    return [
        _price_day(h, on, product, sold.get((on, product), []), changes.get((on, product), 0))
        for on, product in {*sold, *changes}
    ]


def _price_day(h: History, on: date, product: str, lines: list[Line], changes: int) -> Row:
    scraped, before = _last_seen(h, product, on), _last_seen(h, product, on - ONE_DAY)
    units = sum(line.quantity for line in lines)
    charged = mean_money(sum(line.gross for line in lines), units)
    return {
        "day": on,
        "product_id": product,
        "name": h.name_of(product),
        "category": h.category_of(product),
        "scraped_price": scraped,
        "charged_price": charged,
        "paid_price": mean_money(sum(line.sales for line in lines), units),
        "units": units,
        "price_changes": changes,
        "price_move": _change_share(before, scraped),
        "price_gap": None if charged is None or scraped is None else charged - scraped,
    }


def _change_share(before: Decimal | None, after: Decimal | None) -> Decimal | None:
    if before is None or after is None:
        return None
    return ratio(cents(after) - cents(before), cents(before))


def _last_seen(h: History, product: str, on: date) -> Decimal | None:
    """The price of the newest look up to the end of a day, in the currency that prices are compared in."""
    looks = [look for look in h.pages.get(product, []) if look["currency"] == h.price_currency_of(product)]
    prices = [look["price"] for look in looks if day(look["occurred_at"]) <= on]
    return prices[-1] if prices else None


@mart("day", "product_id", "warehouse")
def stock_levels(h: History) -> list[Row]:
    of_day: dict[tuple[str, str], dict[date, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for move in h.moves:
        of_day[move["product_id"], move["warehouse"]][day(move["occurred_at"])].append(move)
    rows = []
    for (product, warehouse), days in of_day.items():
        level = 0
        for on in sorted(days):
            net = sum(move["delta"] for move in days[on])
            level += net
            rows.append(
                {
                    "day": on,
                    "product_id": product,
                    "warehouse": warehouse,
                    "sold": -_moved(days[on], "sale"),
                    "restocked": _moved(days[on], "restock"),
                    "adjusted": _moved(days[on], "adjustment"),
                    "net_change": net,
                    "level": level,
                }
            )
    return rows


def _moved(moves: list[Record], reason: str) -> int:
    return sum(move["delta"] for move in moves if move["reason"] == reason)


@mart("product_id")
def days_of_cover(h: History) -> list[Row]:
    on_hand: dict[str, int] = defaultdict(int)
    for move in h.moves:
        on_hand[move["product_id"]] += move["delta"]
    recent = [order for order in h.orders if h.as_of and h.as_of - order.day < COVER_DAYS * ONE_DAY]
    sold: dict[str, int] = defaultdict(int)
    for order in recent:
        for line in order.lines:
            sold[line.product_id] += line.quantity
    return [_cover(h, product, level, sold.get(product, 0)) for product, level in on_hand.items()]


def _cover(h: History, product: str, level: int, sold: int) -> Row:
    rate = Fraction(sold, _days_behind(h))
    cover = ratio(level, rate, 1)
    return {
        "product_id": product,
        "name": h.name_of(product),
        "category": h.category_of(product),
        "on_hand": level,
        "as_of_day": h.as_of,
        "units_28d": sold,
        "units_per_day": ratio(rate, 1, 4),
        "days_of_cover": cover,
        "status": _status(level, cover),
    }


def _days_behind(h: History) -> int:
    """How many days of selling the recent sales are of: a young shop has fewer."""
    return min(COVER_DAYS, (h.as_of - h.since).days + 1) if h.as_of and h.since else COVER_DAYS


def _status(level: int, cover: Decimal | None) -> str:
    if level <= 0:
        return "out"
    if cover is None:
        return "no sales"
    if cover < 7:
        return "low"
    return "excess" if cover > 90 else "ok"
