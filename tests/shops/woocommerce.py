"""A stand-in for a WooCommerce shop: its REST API v3 (wc/v3, as of WooCommerce 9 and 10) and its webhooks, over HTTP.

It answers what a reader asks: the index, the currency's setting, orders, refunds, products and variations, with Basic
authentication, pages and their headers, and the filters by time. It keeps the truth apart from what it answers, in
whole cents and never from the JSON, and misbehaves when it is told to.

Longer than 400 lines, because what a shop answers and what is true of it belong together.
"""

from __future__ import annotations

import base64
import hmac
import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from aiohttp import web

from tests.shops.serving import Customer, Day, Delivery, StandIn
from tests.shops.woocommerce_orders import Order, Refunded, Sold, order_json, refund_json
from tests.shops.woocommerce_products import Product, Variation, product_id, product_json, variation_json

COUNTED = {"processing", "on-hold", "completed", "refunded", "packed"}  # the last is a shop's own
Fault = Literal["429", "500", "503", "cut"]
T = TypeVar("T")


class WooCommerce(StandIn):
    """The shop. Its methods are for tests, and may be called while it serves."""

    def __init__(self, *, seed: int = 1, currency: str = "EUR", now: datetime | None = None) -> None:
        self.random = random.Random(seed)
        self.currency = currency
        self.time_zone: dict[str, Any] = {"gmt_offset": "1", "timezone_string": "Europe/Berlin"}
        self.now = now or datetime.now(UTC).replace(microsecond=0)
        self.consumer_key = f"ck_{self.random.getrandbits(160):040x}"
        self.consumer_secret = f"cs_{self.random.getrandbits(160):040x}"
        self.webhook_secret = "set by whoever connects"
        self.orders: dict[int, Order] = {}
        self.trashed: set[int] = set()
        self.products: dict[int, Product] = {}
        self.customers: dict[int, Customer] = {}
        self.is_closed_to = ""  # a part of the API that the key may not read
        self.faults: list[Fault] = []
        self.failing: set[int] = set()  # orders about which it fails, asked for by themselves, every time
        self.before_list: Callable[[], None] | None = None
        self.asked: Counter[str] = Counter()
        self.requests: list[str] = []
        self.url = ""
        self._next = 100
        self._lock = threading.RLock()

    # What happens in the shop

    def place(self, *, at: datetime | None = None, status: str = "processing", **more: Any) -> Order:
        """A new order, drawn by chance; prices include tax, so that rounding leaves a cent here and there."""
        with self._lock:
            chance, created = self.random, at or self.now
            lines = [self._line() for _ in range(chance.randint(1, 4))]
            shipping = chance.choice([0, 490, 495])
            number = chance.choice([0, chance.randint(1, 40)])
            drawn = {
                "lines": lines,
                "shipping": shipping,
                "shipping_tax": shipping * 19 // 100,
                "email": f"visitor{number or chance.randint(100, 120)}@mail.example",
                "customer_id": number,
                "country": chance.choice(["DE", "FR", "NL"]),
                "fee": chance.choice([0, 0, 0, 250]),
                "currency": self.currency,
            }
            order = Order(id=self._number(), created=created, modified=created, status=status, **{**drawn, **more})
            self.orders[order.id] = order
            return order

    def change(self, order: Order, *, at: datetime | None = None, status: str | None = None) -> Order:
        """A new status, or any change that moves the time of changing."""
        with self._lock:
            order.status = status or order.status
            order.modified = max(order.modified, at or self.now)
            if status == "completed":
                order.completed = order.modified
            return order

    def refund(self, order: Order, *, at: datetime | None = None, whole: bool = False) -> Refunded:
        """Pay a line back, with its tax; or all that is left, and the order is refunded."""
        with self._lock:
            when, lines = at or self.now, order.lines if whole else order.lines[:1]
            back = [(line, line.quantity, line.total) for line in lines] if not order.refunds else []
            left = order.total - sum(each.amount for each in order.refunds)
            amount = left if whole else min(left, sum(line.paid for line, _, _ in back) or min(left, 100))
            shipping = order.shipping if whole and back else 0
            tax = sum(line.paid - line.total for line, _, _ in back) + (order.shipping_tax if shipping else 0)
            refund = Refunded(self._number(), when, amount, back, shipping, tax)
            order.refunds.append(refund)
            self.change(order, at=when, status="refunded" if amount == left else None)
            return refund

    def trash(self, order: Order) -> None:
        with self._lock:
            self.trashed.add(order.id)

    def delete(self, order: Order) -> None:
        """For good, as when the trash is emptied."""
        with self._lock:
            del self.orders[order.id]

    def offer(self, *, variations: int | None = None) -> Product:
        """A new product, drawn by chance: with variations or none, with stock of its own, shared, or not managed."""
        with self._lock:
            chance = self.random
            own = self._variation(stock=chance.choice([None, chance.randint(0, 50)]))
            product = Product(own, f"Product {own.id}", self.now)
            for i in range(chance.choice([0, 0, 2, 3]) if variations is None else variations):
                one = self._variation(stock=chance.choice([None, chance.randint(0, 20)]), option=f"size {i}")
                one.is_shared = own.stock is not None and chance.random() < 0.3
                product.variations.append(one)
            self.products[product.id] = product
            return product

    def alter(self, product: Product) -> Product:
        """A price, a stock, a name or a status changes, or a variation comes or goes."""
        with self._lock:
            chance, one = self.random, self.random.choice(product.sold)
            what = chance.choice(["price", "stock", "stock", "stock", "name", "status", "sku", "variation"])
            if what == "price":
                one.price = chance.choice([one.regular, one.regular * 3 // 4, 0])
            elif what == "stock":
                one.stock = chance.choice([None, chance.randint(-3, 60)])
            elif what == "name":
                product.name += " new"
            elif what == "status":
                product.status = chance.choice(["publish", "draft", "private"])
            elif what == "sku":
                one.sku = chance.choice(["", f"SKU-{self._number()}"])
            elif len(product.variations) > 1:
                product.variations.pop()
            elif product.variations:
                product.variations.append(self._variation(stock=3, option="another"))
            product.modified = max(product.modified, self.now)
            return product

    def withdraw(self, product: Product) -> None:
        with self._lock:
            del self.products[product.id]

    # What is true of it

    def cancelled(self) -> set[int]:
        """The orders that are cancelled."""
        return {each.id for each in self.orders.values() if each.status == "cancelled" and each.id not in self.trashed}

    def fees(self) -> dict[int, int]:
        """What payment providers keep of an order, in cents, where they keep something."""
        return {order.id: order.payment_fee for order in self.orders.values() if order.payment_fee}

    def costs(self) -> dict[str, int]:
        """What a unit of what is shown with a price costs the shop, where it says so, in cents; of one id as prices."""
        found: dict[str, tuple[bool, int, int, int]] = {}
        for product in self.products.values():
            for place, one in enumerate(product.sold):
                if one.price and product.status == "publish":
                    key, cost = product_id(one, product), one.cost or product.own.cost or 0
                    stock = product.own.stock if one.is_shared else one.stock
                    drawn = (stock is not None and stock <= 0, one.price, place, cost)
                    found[key] = min(found.get(key, drawn), drawn)
        return {key: cost for key, (_, _, _, cost) in found.items() if cost}

    def levels(self) -> dict[str, int]:
        """How many there are by product id, where there are any or less than none."""
        found: Counter[str] = Counter()
        for product in self.products.values():
            found[product.own.sku or str(product.id)] += product.own.stock or 0
            for one in product.variations:
                found[product_id(one, product)] += 0 if one.is_shared else one.stock or 0
        return {key: level for key, level in found.items() if level}

    def prices(self) -> dict[str, int]:
        """What is shown with a price, in cents; of those of one id that which can be had, and is the cheapest."""
        found: dict[str, tuple[bool, int]] = {}
        for product in self.products.values():
            for one in product.sold:
                if one.price and product.status == "publish":
                    key = product_id(one, product)
                    stock = product.own.stock if one.is_shared else one.stock
                    drawn = (stock is not None and stock <= 0, one.price)
                    found[key] = min(found.get(key, drawn), drawn)
        return {key: price for key, (_, price) in found.items()}

    def counted(self) -> list[Order]:
        """Orders that WooCommerce's reports count."""
        return [o for o in self.orders.values() if o.status in COUNTED and o.id not in self.trashed]

    def days(self) -> dict[str, Day]:
        """The truth by day, UTC: orders on the day they were placed, refunds on the day they were made."""
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for order in self.counted():
            day = sums[order.created.strftime("%Y-%m-%d")]
            day["orders"] += 1
            day["units"] += sum(line.quantity for line in order.lines) + bool(order.fee)
            day["gross"] += order.goods + order.discount
            day["discount"] += order.discount
            day["shipping"] += order.shipping
            day["tax"] += order.tax
            for refund in order.refunds:
                other = sums[refund.at.strftime("%Y-%m-%d")]
                other["refunds"] += 1
                other["refunded"] += refund.amount
        return {day: Day(**counts) for day, counts in sums.items()}

    # What it says

    def delivery(self, order: Order, topic: str = "order.updated") -> Delivery:
        """The webhook's request with the order as it is now."""
        with self._lock:
            body = json.dumps({"id": order.id} if topic == "order.deleted" else order_json(order)).encode()
        return Delivery(order.id, body, self.signed(body, topic))

    def product_delivery(self, product: Product, topic: str = "product.updated") -> Delivery:
        """The webhook's request with the product as it is now, its variations by their numbers."""
        said = {"id": product.id} if topic == "product.deleted" else product_json(product)
        body = json.dumps(said).encode()
        return Delivery(product.id, body, self.signed(body, topic))

    def customer_delivery(self, customer: Customer, what: str = "update") -> Delivery:
        """The webhook's request with the customer, with all that the shop knows of them."""
        said = {"id": customer.id} if what == "delete" else _customer_json(customer)
        body = json.dumps(said).encode()
        return Delivery(customer.id, body, self.signed(body, f"customer.{what}d"))

    def signed(self, body: bytes, topic: str = "order.updated") -> dict[str, str]:
        digest = hmac.digest(self.webhook_secret.encode(), body, "sha256")
        return {
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": self.url + "/",
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-Resource": topic.partition(".")[0],
            "X-WC-Webhook-Event": topic.partition(".")[2],
            "X-WC-Webhook-Signature": base64.b64encode(digest).decode(),
            "X-WC-Webhook-ID": "7",
            "X-WC-Webhook-Delivery-ID": f"{self.random.getrandbits(128):032x}",
        }

    # How it answers

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave])
        app.router.add_get("/wp-json/", self._index)
        app.router.add_get("/wp-json/wc/v3/settings/general/woocommerce_currency", self._currency)
        app.router.add_get("/wp-json/wc/v3/orders", self._orders)
        app.router.add_get(r"/wp-json/wc/v3/orders/{id:\d+}", self._order)
        app.router.add_get(r"/wp-json/wc/v3/orders/{id:\d+}/refunds", self._refunds)
        app.router.add_get("/wp-json/wc/v3/products", self._products)
        app.router.add_get("/wp-json/wc/v3/customers", self._customers)
        app.router.add_get(r"/wp-json/wc/v3/products/{id:\d+}/variations", self._variations)
        return app

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.requests.append(str(request.rel_url))
        fault = self.faults.pop(0) if self.faults else None
        if fault == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        if fault is None and request.match_info.get("id") in map(str, self.failing):
            fault = "500"
        if fault in ("500", "503"):
            return web.Response(status=int(fault), text="<p>There has been a critical error on this website.</p>")
        if request.path != "/wp-json/" and not self._is_allowed(request):
            said = {"code": "woocommerce_rest_cannot_view", "message": "No.", "data": {"status": 401}}
            return web.json_response(said, status=401)
        response: web.Response = await handler(request)
        if fault == "cut":
            assert isinstance(response.body, bytes)
            return web.Response(body=response.body[: len(response.body) // 2], headers=response.headers)
        return response

    def _is_allowed(self, request: web.Request) -> bool:
        if self.is_closed_to and self.is_closed_to in request.path:
            return False
        said = request.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(said).decode() == f"{self.consumer_key}:{self.consumer_secret}"

    async def _index(self, request: web.Request) -> web.Response:
        said = {"name": "Bikes & more", "url": self.url, **self.time_zone}
        return web.json_response({**said, "namespaces": ["wp/v2", "wc/v1", "wc/v2", "wc/v3"]})

    async def _currency(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "woocommerce_currency", "value": self.currency, "default": "USD"})

    async def _orders(self, request: web.Request) -> web.Response:
        if self.before_list is not None:
            self.before_list()
        with self._lock:
            found = [order for order in self.orders.values() if order.id not in self.trashed]
            return self._page(request, self._asked_for(request, found), order_json)

    async def _products(self, request: web.Request) -> web.Response:
        if self.before_list is not None:
            self.before_list()
        with self._lock:
            found = self._asked_for(request, list(self.products.values()))
            return self._page(request, found, product_json)

    async def _variations(self, request: web.Request) -> web.Response:
        with self._lock:
            product = self.products.get(int(request.match_info["id"]))
            if product is None:
                return web.json_response({"code": "woocommerce_rest_product_invalid_id"}, status=404)
            return self._page(request, product.variations, lambda each: variation_json(each, product))

    async def _customers(self, request: web.Request) -> web.Response:
        query = request.query
        assert query["role"] == "all"
        with self._lock:
            numbers = {int(each) for each in query.get("include", "").split(",") if each} or set(self.customers)
            found = [self.customers[number] for number in sorted(numbers & set(self.customers))]
            return self._page(request, found, lambda each: _fields(_customer_json(each), query["_fields"]))

    def _asked_for(self, request: web.Request, found: list[Any]) -> list[Any]:
        query = request.query
        excluded = {int(each) for each in query.get("exclude", "").split(",") if each}
        found = [order for order in found if order.id not in excluded]
        if included := {int(each) for each in query.get("include", "").split(",") if each}:
            found = [order for order in found if order.id in included]
        is_gmt = query.get("dates_are_gmt") == "true"
        for name, column in (("after", "created"), ("modified_after", "modified")):
            if name in query:
                after = datetime.fromisoformat(query[name]).replace(tzinfo=UTC)
                after -= timedelta() if is_gmt else timedelta(hours=1)
                found = [order for order in found if getattr(order, column) > after]
        column = {"date": "created", "modified": "modified", "id": "id"}[query.get("orderby", "date")]
        found.sort(key=lambda order: (getattr(order, column), order.id), reverse=query.get("order") != "asc")
        return found

    async def _order(self, request: web.Request) -> web.Response:
        with self._lock:
            order = self.orders.get(int(request.match_info["id"]))
            if order is None:
                return web.json_response({"code": "woocommerce_rest_shop_order_invalid_id"}, status=404)
            trash = {"status": "trash"} if order.id in self.trashed else {}
            return web.json_response({**order_json(order), **trash})

    async def _refunds(self, request: web.Request) -> web.Response:
        with self._lock:
            order = self.orders.get(int(request.match_info["id"]))
            if order is None or order.id in self.trashed:
                return web.json_response({"code": "woocommerce_rest_invalid_order_id"}, status=404)
            return self._page(request, order.refunds, lambda each: refund_json(each, order.currency))

    def _page(self, request: web.Request, found: list[T], as_json: Callable[[T], dict[str, Any]]) -> web.Response:
        page, size = int(request.query.get("page", 1)), min(int(request.query.get("per_page", 10)), 100)
        headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(-(-len(found) // size))}
        return web.json_response([as_json(one) for one in found[(page - 1) * size : page * size]], headers=headers)

    def _number(self) -> int:
        """Orders and refunds are numbered together, as posts are."""
        self._next += self.random.randint(1, 3)
        return self._next

    def _variation(self, *, stock: int | None, option: str = "") -> Variation:
        number, regular = self._number(), 500 + 37 * self.random.randint(1, 60)
        sku = self.random.choice(["", f"SKU-{number}", f"SKU-{number}"])
        return Variation(number, sku, self.random.choice([regular, regular * 9 // 10]), regular, stock, option)

    def _line(self) -> Sold:
        chance = self.random
        product, quantity = chance.randint(1, 60), chance.randint(1, 3)
        whole = quantity * (500 + 37 * product)
        paid = whole if chance.random() < 0.7 else whole * 90 // 100
        return Sold(f"SKU-{product}" if product % 5 else "", product, quantity, whole, paid)


def _customer_json(customer: Customer) -> dict[str, Any]:
    first, _, last = customer.name.partition(" ")
    address = {"first_name": first, "last_name": last, "country": customer.country}
    return {
        "id": customer.id,
        "date_created_gmt": customer.created.strftime("%Y-%m-%dT%H:%M:%S"),
        "date_modified_gmt": customer.modified.strftime("%Y-%m-%dT%H:%M:%S"),
        "email": customer.email,
        "first_name": first,
        "last_name": last,
        "role": "customer",
        "billing": {**address, "email": customer.email},
        "shipping": address,
    }


def _fields(found: dict[str, Any], names: str) -> dict[str, Any]:
    """Some of it, as ``_fields`` asks: a name, or one within another."""
    some: dict[str, Any] = {}
    for name in names.split(","):
        outer, _, inner = name.partition(".")
        if inner:
            some.setdefault(outer, {})[inner] = found[outer][inner]
        else:
            some[outer] = found[outer]
    return some
