"""A stand-in for a Shopify shop: its GraphQL Admin API 2026-10, as far as a reader asks it, and its webhooks.

It answers our queries by their names and variables, with the cost of each, tokens for the app's ID and secret, scopes,
and cursors that stand for a time and a number. It keeps the truth in whole cents, apart from the JSON,
and misbehaves when it is told to.
"""

from __future__ import annotations

import base64
import hmac
import json
import random
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import web

from tests.shops.serving import Customer, Day, Delivery, StandIn
from tests.shops.shopify_orders import Agreement, Item, Order, agreements_json, at, order_json, sales_json
from tests.shops.shopify_products import Catalog, Product

Fault = Literal["429", "500", "503", "cut", "throttled", "internal"]
MOST_COST = 1000
SCOPES = ("read_orders", "read_customers", "read_all_orders", "read_products", "read_inventory", "read_locations")


class Shopify(Catalog, StandIn):
    """The shop. Its methods are for tests, and may be called while it serves."""

    def __init__(self, *, seed: int = 1, currency: str = "EUR", now: datetime | None = None) -> None:
        self.random = random.Random(seed)
        self.currency = currency
        self.now = now or datetime.now(UTC).replace(microsecond=0)
        self.client_id = f"{self.random.getrandbits(128):032x}"
        self.client_secret = f"shpss_{self.random.getrandbits(128):032x}"
        self.tokens: set[str] = set()
        self.scopes = list(SCOPES)
        self.orders: dict[int, Order] = {}
        self.products: dict[int, Product] = {}
        self.customers: dict[int, Customer] = {}
        self.faults: list[Fault] = []
        self.before_list: Callable[[], None] | None = None
        self.asked: Counter[str] = Counter()
        self.hooks: list[dict[str, Any]] = []
        self.points = 1e9
        self.order_cost = 30
        self.product_cost = 30
        self.item_cost = 30
        self.hides_addresses = False
        self.time_zone = "Europe/Berlin"
        self.url = ""
        self._next = 5_000_000_000_000
        self._lock = threading.RLock()

    # What happens in the shop

    def place(self, *, at: datetime | None = None, lines: int | None = None, **more: Any) -> Order:
        """A new order, drawn by chance: goods, now and then with a gift card, a tip, duties or another currency."""
        with self._lock:
            chance, created = self.random, at or self.now
            items = [self._item() for _ in range(lines or chance.randint(1, 4))]
            if chance.random() < 0.5:
                shipping = chance.choice([490, 495, 1290])
                items.append(Item(self._number(), "SHIPPING", "", 1, shipping, shipping - chance.choice([0, 0, 100])))
            for kind, odds in (("GIFT_CARD", 0.1), ("TIP", 0.1), ("DUTY", 0.05)):
                if chance.random() < odds:
                    cents = chance.randint(100, 5000)
                    items.append(Item(self._number(), kind, "", 1, cents, cents))
            if chance.random() < 0.05:
                items = [item for item in items if item.kind == "GIFT_CARD"] or items
            drawn: dict[str, Any] = {
                "customer": chance.choice([0, chance.randint(1, 40)]),
                "country": chance.choice(["DE", "FR", "NL", ""]),
                "is_test": chance.random() < 0.05,
                "presentment": chance.choice([1.0, 1.17]),
                "currency": self.currency,
                "agreements": [Agreement(self._number(), created, "ORDER", tuple(items))],
            }
            order = Order(id=self._number(), created=created, modified=created, **{**drawn, **more})
            self.orders[order.id] = order
            return order

    def change(self, order: Order, *, at: datetime | None = None) -> Order:
        """Any change that moves the time of changing."""
        with self._lock:
            order.modified = max(order.modified, at or self.now)
            return order

    def pay(self, order: Order) -> Order:
        order.paid = order.paid or self.now
        return self.change(order)

    def send(self, order: Order) -> Order:
        order.sent = order.sent or self.now
        return self.change(order)

    def edit(self, order: Order) -> Order:
        """A line is added, and one of what is left comes off."""
        with self._lock:
            left = [(item, units) for item, units in order.left() if item.kind == "PRODUCT"]
            back = (order.back(left[0][0], 1),) if len(left) > 1 else ()
            order.agreements.append(Agreement(self._number(), self.now, "ORDER_EDIT", (self._item(),), back))
            return self.change(order)

    def refund(self, order: Order, *, at: datetime | None = None, whole: bool = False) -> Agreement | None:
        """Pay back a line, or all that is left; now and then the shop keeps something, or pays goodwill."""
        with self._lock:
            when, left = at or self.now, order.left()
            if not left:
                return None
            chosen = left if whole else [(item, self.random.randint(1, units)) for item, units in left[:1]]
            back = tuple(order.back(item, units) for item, units in chosen)
            worth = sum(each.total for each in back if each.item.kind not in ("GIFT_CARD", "TIP"))
            tax = sum(each.tax for each in back)
            kept = min(self.random.choice([0, 0, 300]), max(0, worth - tax))
            reason = self.random.choice(["REFUND", "RETURN"])
            agreement = Agreement(self._number(), when, reason, (), back, kept)
            order.agreements.append(agreement)
            self.change(order, at=when)
            return agreement

    def cancel(self, order: Order) -> Order:
        """A cancelled order stays in the reports: all of it comes back on that day."""
        order.cancelled = self.now
        self.refund(order, whole=True)
        return self.change(order)

    def delete(self, order: Order) -> None:
        with self._lock:
            del self.orders[order.id]

    # What is true of it

    def cancelled(self) -> set[int]:
        """The orders that are cancelled."""
        return {each.id for each in self.orders.values() if each.cancelled and not each.is_test}

    def fees(self) -> dict[int, int]:
        """What Shopify Payments keeps of an order, in cents, where it keeps something."""
        return {each.id: each.payment_fee for each in self.orders.values() if each.payment_fee and not each.is_test}

    def counted(self) -> list[Order]:
        """Orders that Shopify's sales reports have."""
        return [order for order in self.orders.values() if order.is_counted]

    def days(self) -> dict[str, Day]:
        """The truth by day, UTC: sales on the day of the order, returns on the day when they were agreed."""
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for order in self.counted():
            day = sums[order.created.strftime("%Y-%m-%d")]
            day["orders"] += 1
            day["units"] += sum(item.units for item in order.goods)
            day["gross"] += sum(item.net + item.discount for item in order.goods)
            day["discount"] += sum(item.discount for item in order.goods)
            day["shipping"] += sum(item.net for item in order.items if item.kind == "SHIPPING")
            day["tax"] += sum(item.tax for item in order.items)
            for agreement in order.agreements:
                if any(each.item.kind not in ("GIFT_CARD", "TIP") for each in agreement.back):
                    other = sums[agreement.at.strftime("%Y-%m-%d")]
                    other["refunds"] += 1
                    other["refunded"] += agreement.given_back
        return {day: Day(**counts) for day, counts in sums.items()}

    # What it says

    def delivery(self, order: Order, topic: str = "orders/updated") -> Delivery:
        """The webhook's request, with the fields that were subscribed to: it names the order."""
        return self.delivery_of(order.id, topic)

    def delivery_of(self, order_id: int, topic: str = "orders/delete") -> Delivery:
        said: dict[str, Any] = {"id": order_id}
        if topic == "refunds/create":
            said = {"order_id": order_id}
        elif topic == "orders/edited":
            said = {"order_edit": {"id": 78_912_328, "order_id": order_id}}
        body = json.dumps(said).encode()
        return Delivery(order_id, body, self.signed(body, topic))

    def product_delivery(self, product: Product, topic: str = "products/update") -> Delivery:
        """The webhook's request, with the field that was subscribed to."""
        return self.delivery_of(product.id, topic)

    def item_delivery(self, item: int, topic: str = "inventory_levels/update") -> Delivery:
        """The webhook's request: it names the inventory item of a variant."""
        body = json.dumps({"id" if topic == "inventory_items/update" else "inventory_item_id": item}).encode()
        return Delivery(item, body, self.signed(body, topic))

    def compliance_delivery(self, topic: str, **said: Any) -> Delivery:
        """One of the privacy webhooks, which are set up in the app and say everything."""
        body = json.dumps({"shop_id": 7, "shop_domain": urlsplit(self.url).netloc, **said}).encode()
        return Delivery(0, body, self.signed(body, topic))

    def customer_delivery(self, customer: Customer, what: str = "update") -> Delivery:
        """The webhook's request, with the field that was subscribed to."""
        return self.delivery_of(customer.id, f"customers/{what}")

    def signed(self, body: bytes, topic: str = "orders/updated") -> dict[str, str]:
        digest = hmac.digest(self.client_secret.encode(), body, "sha256")
        return {
            "Content-Type": "application/json",
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-SHA256": base64.b64encode(digest).decode(),
            "X-Shopify-Shop-Domain": urlsplit(self.url).netloc,
            "X-Shopify-API-Version": "2026-10",
            "X-Shopify-Webhook-Id": f"{self.random.getrandbits(128):032x}",
            "X-Shopify-Event-Id": f"{self.random.getrandbits(128):032x}",
            "X-Shopify-Triggered-At": at(self.now),
        }

    # How it answers

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/admin/oauth/access_token", self._grant)
        app.router.add_post("/admin/api/2026-10/graphql.json", self._graphql)
        return app

    async def _grant(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.asked["token"] += 1
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return web.json_response({"error": "invalid_client"}, status=400)
        token = f"{self.random.getrandbits(160):040x}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "scope": ",".join(self.scopes), "expires_in": 86399})

    async def _graphql(self, request: web.Request) -> web.Response:
        said = await request.json()
        match = re.search(r"^(?:query|mutation) (\w+)", said["query"], re.MULTILINE)
        assert match is not None
        name, variables = match[1], said["variables"]
        self.asked[name] += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        if fault in ("500", "503"):
            return web.Response(status=int(fault), text="<p>Something went wrong</p>")
        if request.headers.get("X-Shopify-Access-Token") not in self.tokens:
            return web.json_response({"errors": "[API] Invalid API key or access token"}, status=401)
        if fault == "internal":
            return self._error("INTERNAL_SERVER_ERROR", 0)
        costs = {"OfItems": self.item_cost, "Products": self.product_cost, "Customers": 2, "": self.order_cost}
        each = next(cost for part, cost in costs.items() if part in name)
        cost = 10 + each * (variables.get("first") or len(variables.get("ids", ())))
        if cost > MOST_COST:
            return self._error("MAX_COST_EXCEEDED", cost)
        if fault == "throttled" or cost > self.points:
            return self._error("THROTTLED", cost)
        self.points -= cost
        if name in ("Orders", "Newest") and "read_orders" not in self.scopes:
            return self._error("ACCESS_DENIED", cost, {"orders": None})
        if "Product" in name and "read_products" not in self.scopes:
            return self._error("ACCESS_DENIED", cost, {"products": None})
        if variables.get("stock") and not {"read_inventory", "read_locations"} <= set(self.scopes):
            return self._error("ACCESS_DENIED", cost, {"products": None})
        with self._lock:
            data = getattr(self, f"_{name.lower()}")(variables)
        answer = {"data": data, "extensions": self._cost(cost)}
        if self.hides_addresses and name in ("Orders", "Named"):
            answer["errors"] = [{"message": "no addresses", "extensions": {"code": "ACCESS_DENIED"}}]
        body = json.dumps(answer).encode()
        return web.Response(body=body[: len(body) // 2] if fault == "cut" else body, content_type="application/json")

    def _cost(self, cost: int) -> dict[str, Any]:
        status = {"maximumAvailable": 2000.0, "currentlyAvailable": self.points, "restoreRate": 100.0}
        return {"cost": {"requestedQueryCost": cost, "actualQueryCost": cost, "throttleStatus": status}}

    def _error(self, code: str, cost: int, data: Any = None) -> web.Response:
        error = {"message": code.capitalize(), "extensions": {"code": code}}
        said = {"errors": [error], "extensions": self._cost(cost)}
        return web.json_response(said if data is None else {**said, "data": data})

    def _about(self, asked: dict[str, Any]) -> Any:
        scopes = [{"handle": each} for each in self.scopes]
        return {
            "shop": {"name": "Bikes & more", "currencyCode": self.currency, "ianaTimezone": self.time_zone},
            "ordersCount": {"count": len(self.orders)},
            "currentAppInstallation": {"accessScopes": scopes},
        }

    def _newest(self, asked: dict[str, Any]) -> Any:
        newest = sorted(self.orders.values(), key=lambda order: (order.modified, order.id))[-1:]
        return {"orders": {"nodes": [{"updatedAt": at(order.modified)} for order in newest]}}

    def _orders(self, asked: dict[str, Any]) -> Any:
        if self.before_list is not None:
            self.before_list()
        match = re.fullmatch(r"(processed|updated)_at:>='(.*)'", asked["query"])
        assert match is not None
        column = {"processed": "created", "updated": "modified"}[match[1]]
        assert asked["sort"] == {"processed": "PROCESSED_AT", "updated": "UPDATED_AT"}[match[1]]
        since = datetime.fromisoformat(match[2])
        page, info = self._listed(list(filter(self._may_read, self.orders.values())), column, since, asked)
        return {"orders": {"nodes": [self._json(order, asked) for order in page], "pageInfo": info}}

    def _listed(self, those: list[Any], column: str, since: datetime, asked: dict[str, Any]) -> tuple[list[Any], Any]:
        def place(one: Any) -> tuple[datetime, int]:
            return getattr(one, column), one.id

        found = sorted((one for one in those if getattr(one, column) >= since), key=place)
        if asked["after"]:
            when, number = json.loads(base64.b64decode(asked["after"]))
            found = [order for order in found if place(order) > (datetime.fromisoformat(when), number)]
        page = found[: asked["first"]]
        end = (
            base64.b64encode(json.dumps([place(page[-1])[0].isoformat(), page[-1].id]).encode()).decode()
            if page
            else None
        )
        return page, {"hasNextPage": len(found) > len(page), "endCursor": end}

    def _rights(self, asked: dict[str, Any]) -> Any:
        return {key: value for key, value in self._about(asked).items() if key != "ordersCount"}

    def _customers(self, asked: dict[str, Any]) -> Any:
        since = datetime.fromisoformat(asked["query"].removeprefix("updated_at:>='").removesuffix("'"))
        page, info = self._listed(list(self.customers.values()), "modified", since, asked)
        return {"customers": {"nodes": [_customer_json(each) for each in page], "pageInfo": info}}

    def _namedcustomers(self, asked: dict[str, Any]) -> Any:
        found = [self.customers.get(int(each.rpartition("/")[2])) for each in asked["ids"]]
        return {"nodes": [_customer_json(each) if each else None for each in found]}

    def _named(self, asked: dict[str, Any]) -> Any:
        numbers = [int(each.rpartition("/")[2]) for each in asked["ids"]]
        found = [self.orders.get(number) for number in numbers]
        return {"nodes": [self._json(each, asked) if each and self._may_read(each) else None for each in found]}

    def _may_read(self, order: Order) -> bool:
        return "read_all_orders" in self.scopes or order.created >= self.now - timedelta(days=60)

    def _json(self, order: Order, asked: dict[str, Any]) -> Any:
        found = order_json(order, agreements=asked["agreements"], sales=asked["sales"])
        return {**found, "shippingAddress": None} if self.hides_addresses else found

    def _more(self, asked: dict[str, Any]) -> Any:
        order = self.orders[int(asked["id"].rpartition("/")[2])]
        start = int(asked["after"].partition("-")[2]) + 1
        page = agreements_json(order, start, asked["agreements"], asked["sales"])
        return {"order": {"updatedAt": at(order.modified), "agreements": page}}

    def _moresales(self, asked: dict[str, Any]) -> Any:
        order = self.orders[int(asked["id"].rpartition("/")[2])]
        index = int(asked["agreement"].partition("-")[2]) + 1 if asked["agreement"] else 0
        start = int(asked["after"].partition("-")[2]) + 1
        agreement = order.agreements[index]
        sales = sales_json(order, agreement, start, asked["sales"])
        node = {"id": f"gid://shopify/SalesAgreement/{agreement.id}", "sales": sales}
        return {"order": {"updatedAt": at(order.modified), "agreements": {"nodes": [node]}}}

    def _hooks(self, asked: dict[str, Any]) -> Any:
        return {"webhookSubscriptions": {"nodes": self.hooks}}

    def _hook(self, asked: dict[str, Any]) -> Any:
        problems = (
            [] if asked["uri"].startswith("https://") else [{"message": "Address protocol http:// is not supported"}]
        )
        if not problems:
            self.hooks.append({"id": f"gid://shopify/WebhookSubscription/{self._number()}", **asked})
        return {"webhookSubscriptionCreate": {"userErrors": problems}}

    def _unhook(self, asked: dict[str, Any]) -> Any:
        left = [each for each in self.hooks if each["id"] != asked["id"]]
        problems = [] if len(left) < len(self.hooks) else [{"message": "Webhook subscription does not exist"}]
        self.hooks = left
        return {"webhookSubscriptionDelete": {"userErrors": problems}}

    def _number(self) -> int:
        self._next += self.random.randint(1, 3)
        return self._next

    def _item(self) -> Item:
        chance = self.random
        product, units = chance.randint(1, 60), chance.randint(1, 3)
        whole = units * (500 + 37 * product)
        paid = whole if chance.random() < 0.6 else whole * 90 // 100
        return Item(self._number(), "PRODUCT", f"SKU-{product}" if product % 5 else "", units, whole, paid)


def _customer_json(customer: Customer) -> dict[str, Any]:
    """What we ask for."""
    return {
        "id": f"gid://shopify/Customer/{customer.id}",
        "createdAt": at(customer.created),
        "updatedAt": at(customer.modified),
        "defaultAddress": {"countryCodeV2": customer.country} if customer.country else None,
    }
