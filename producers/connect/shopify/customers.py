"""A Shopify customer, as our state of one. Pure: bytes in, values out."""

from __future__ import annotations

from producers.connect.orders import Shop, millis_of, object_of, of_order
from producers.connect.resources import Customer
from producers.connect.shopify.ids import number_of


def read_customer(body: bytes, shop: Shop) -> Customer:
    """Raises BadOrder naming the field."""
    customer = object_of(body)
    number = number_of(customer, "id")
    address = customer.get("defaultAddress")
    region = str(address.get("countryCodeV2") or "unknown") if isinstance(address, dict) else "unknown"
    with of_order(number):
        return Customer(number, millis_of(customer, "createdAt"), region)
