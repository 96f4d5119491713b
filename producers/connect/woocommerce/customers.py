"""A WooCommerce customer, as our state of one. Pure: bytes in, values out."""

from __future__ import annotations

from producers.connect.orders import Json, Shop, id_of, millis_of, object_of, of_order
from producers.connect.resources import Customer


def read_customer(body: bytes, shop: Shop) -> Customer:
    """Raises BadOrder naming the field."""
    customer = object_of(body)
    number = id_of(customer, "id")
    with of_order(number):
        return Customer(number, millis_of(customer, "date_created_gmt"), region_of(customer))


def region_of(source: Json) -> str:
    """The country that it ships to, of an order or a customer; else that of the bill."""
    for address in (source.get("shipping"), source.get("billing")):
        if isinstance(address, dict) and address.get("country"):
            return str(address["country"])
    return "unknown"
