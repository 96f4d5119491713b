r"""What the columns of an order file are, from a TOML file. Ready ones for known exports are in ``producers/mappings``.

::

    source = "bikes"              # the source of the events; short, lower case; the same for each export
    delimiter = ";"               # one character, "whitespace", or "auto" (the default: found in the first rows)
    header = true                 # is there a header? the default: yes, if a column is called by its name
    date_format = "%d.%m.%Y"      # as in Python's strptime; or "iso" (the default), "epoch_seconds", "epoch_millis",
                                  # "epoch_micros"; or a list of several. A zone written in the value wins
    zone = "Europe/Berlin"        # of dates that name none; UTC is the default. In the hour that a clock is set back
                                  # over, the first
    decimal_point = ","           # the other sign separates thousands. Without it the sign is a point, and an amount
                                  # that may be meant in two ways (1.500) is refused
    encoding = "auto"             # found from its bytes: UTF-8, UTF-16, cp1252, Shift-JIS; or its name
    inherit_blanks = true         # an order's later rows leave out what its first row has
    summary_rows = true           # a row of an order without a product is its head, not a line
    guests = true                 # an order without a customer is a guest's of its own; else it is refused
    cancellation_prefix = "C"     # orders that begin so are cancellations: their negative quantities were paid back.
                                  # "": a negative quantity is a return in any order
    tax_included = true           # the prices hold the tax: a whole refund does not pay it back once more
    upper_case_currency = true    # the export writes usd for USD
    optional = ["brand"]          # fields whose columns not every export has
    notes = ["Seller ID"]         # a row without a product that begins with such a text is the export's own, no order

    [columns]                     # field = name in the header, position from 1, or a list: the first that is not blank
    order_id = "Order"
    customer_id = ["Customer", "E-Mail"]
    occurred_at = "When"
    product_id = "Article"
    quantity = "Units"            # without it every row is one unit
    unit_price = "Price"          # or total: for all units of the row, before discounts

    [constants]                   # fields that are the same in every row
    category = "Helmets"

    [defaults]                    # what a field is where its column is blank
    region = "unknown"

    [status]                      # what each value of the column status means, upper and lower case being the same:
    paid = "sale"                 # counts
    refunded = "refunded"         # counts, and so does a refund: of the field refunded, or of all
    voided = "void"               # never became a sale: counts nothing, and is named in the summary

Fields of an order: order_id, customer_id, occurred_at, region, currency, channel; status, shipping, tax, order_discount
(spread over its lines by their price), discount_code, refunded (paid back so far, in all), refunded_at, paid_at,
fulfilled_at. Fields of a line: product_id, category, brand, quantity, total or unit_price, discount, net_total (total
less discount, instead of it), line_shipping, line_shipping_discount, line_tax, line_status (an item that [status] calls
void is left out of its order). Rows of one order_id are the lines of one order, wherever they stand. Without it a row
is an order.

An export in several files has ``file``, the name of the one whose rows are order lines, and joins the others to it::

    [[join]]
    file = "customers.csv"
    on = "customer_id"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from producers.order_file import content
from producers.order_file.content import AUTO
from producers.order_file.table import WHITESPACE, folded
from producers.order_file.values import EPOCH_UNITS, ISO
from schemas.currency import problem_as_shops
from schemas.errors import Misconfigured

REQUIRED: Final = ("customer_id", "occurred_at", "product_id", "category", "region", "currency", "channel")
MONEY: Final = (
    *("total", "unit_price", "net_total", "discount", "line_shipping", "line_shipping_discount", "line_tax"),
    *("order_discount", "shipping", "tax", "refunded"),
)
TIMES: Final = ("refunded_at", "paid_at", "fulfilled_at")
OPTIONAL: Final = ("quantity", "brand", "order_id", "status", "line_status", *TIMES, "discount_code", *MONEY)
FIELDS: Final = REQUIRED + OPTIONAL
# Of the whole order: what inherit_blanks fills in, and what may not differ between an order's rows.
OF_THE_ORDER: Final = ("customer_id", "region", "currency", "channel")
OUTCOMES: Final = ("sale", "refunded", "void")
SETTINGS: Final[Mapping[str, Any]] = {
    "source": None,
    "description": "",
    "detect": [],
    "optional": [],
    "notes": [],
    "file": "",
    "delimiter": AUTO,
    "header": None,
    "date_format": ISO,
    "zone": "UTC",
    "decimal_point": None,
    "encoding": AUTO,
    "inherit_blanks": False,
    "summary_rows": False,
    "guests": False,
    "cancellation_prefix": None,
    "tax_included": False,
    "upper_case_currency": False,
}
FLAGS: Final = ("header", "inherit_blanks", "summary_rows", "guests", "tax_included", "upper_case_currency")
TABLES: Final = ("columns", "constants", "defaults", "status", "join")
Column = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Another file of the export: its row with the same value in the column ``on``."""

    file: str
    on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """A mapping that was read: every required field is a column or a constant."""

    source: str
    description: str
    detect: Sequence[str]
    optional: Sequence[str]
    notes: Sequence[str]
    file: str
    delimiter: str
    header: bool
    date_formats: tuple[str, ...]
    zone: str
    decimal_point: str | None
    encoding: str
    inherit_blanks: bool
    summary_rows: bool
    guests: bool
    cancellation_prefix: str | None
    tax_included: bool
    upper_case_currency: bool
    columns: Mapping[str, Sequence[Column]]
    constants: Mapping[str, str]
    defaults: Mapping[str, str]
    status: Mapping[str, str]
    joins: Sequence[Join]

    @property
    def has_refunds_with_orders(self) -> bool:
        """Whether an order's rows say all that was paid back of it, so that what they do not say was not."""
        return self.cancellation_prefix is None and not {"status", "refunded"}.isdisjoint(self.columns)

    def names(self) -> list[str]:
        """The columns that are called by their names and have no other to stand in for them."""
        needed = (columns for field, columns in self.columns.items() if field not in self.optional)
        return [columns[0] for columns in needed if len(columns) == 1 and isinstance(columns[0], str)]

    def positions(self, header: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
        """Where each mapped field stands in a row, from 0; of several columns, those that there are.

        Raises Misconfigured for a name that the header lacks, or has twice.
        """
        places: dict[str, list[int]] = {}
        for position, name in enumerate(header or ()):
            places.setdefault(folded(name), []).append(position)
        found = {}
        for field, columns in self.columns.items():
            found[field] = tuple(p for column in columns for p in _position(field, column, places))
            if not found[field] and field in self.optional:
                del found[field]
            elif not found[field]:
                names = ", ".join(name for name in header if name) if header else "none: header = false"
                asked = " or ".join(repr(column) for column in columns)
                raise Misconfigured(
                    f"the mapping's column {asked} for {field} is not in the file; its columns are {names}"
                )
        return found


def _position(field: str, column: Column, places: Mapping[str, Sequence[int]]) -> Sequence[int]:
    if isinstance(column, int):
        return (column - 1,)
    at = places.get(folded(column), ())
    if len(at) > 1:
        where = " and ".join(str(position + 1) for position in at)
        raise Misconfigured(
            f"the mapping's column {column!r} for {field} is in the file more than once, as columns {where}; give the"
            " position of the right one"
        )
    return at


def load(path: Path) -> ColumnMapping:
    """The mapping in a TOML file. Raises Misconfigured naming the file, the key and what it should be."""
    try:
        return _parsed(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise Misconfigured(f"the mapping {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"the mapping {path} is not UTF-8, as TOML must be; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"the mapping {path} is not TOML: {error}") from error
    except Misconfigured as error:
        raise Misconfigured(f"the mapping {path}: {error}") from error


def _parsed(toml: Mapping[str, Any]) -> ColumnMapping:
    settings = {**SETTINGS, **{name: value for name, value in toml.items() if name not in TABLES}}
    _check_settings(settings)
    columns, constants, defaults = (_table(toml, name) for name in ("columns", "constants", "defaults"))
    listed = {field: column if isinstance(column, list) else [column] for field, column in columns.items()}
    _check_fields(listed, constants, defaults, needs_customer=not settings["guests"])
    formats = settings.pop("date_format")
    if settings["header"] is None:
        settings["header"] = any(isinstance(column, str) for each in listed.values() for column in each)
    settings["encoding"] = content.known(settings["encoding"])
    return ColumnMapping(
        **settings,
        date_formats=tuple(formats) if isinstance(formats, list) else (formats,),
        columns=MappingProxyType(listed),
        constants=MappingProxyType({field: str(value) for field, value in constants.items()}),
        defaults=MappingProxyType({field: str(value) for field, value in defaults.items()}),
        status=_statuses(_table(toml, "status"), "status" in columns),
        joins=_joins(toml.get("join", [])),
    )


def _table(toml: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = toml.get(name, {})
    if not isinstance(found, dict):
        raise Misconfigured(f"{name} must be a table: a line [{name}], and lines of names and values below it")
    return found


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name not in SETTINGS:
            raise Misconfigured(f"there is no setting {name!r}; there are {', '.join(SETTINGS)}")
        if name in FLAGS:
            if value is not None and not isinstance(value, bool):
                raise Misconfigured(f"{name} must be true or false")
        elif name in ("date_format", "detect", "optional", "notes") and isinstance(value, list):
            if not all(isinstance(each, str) for each in value):
                raise Misconfigured(f"{name} must be strings")
        elif (not isinstance(value, str) and value != SETTINGS[name]) or name == "source" and not value:
            raise Misconfigured(f"{name} must be a string")
    if settings["delimiter"] not in (WHITESPACE, AUTO) and len(settings["delimiter"]) != 1:
        said = settings["delimiter"]
        raise Misconfigured(f"delimiter must be one character or {WHITESPACE!r} or {AUTO!r}, not {said!r}")
    if settings["decimal_point"] not in (None, ".", ","):
        raise Misconfigured(f"decimal_point must be '.' or ',', not {settings['decimal_point']!r}")
    _check_times(settings)


def _check_times(settings: Mapping[str, Any]) -> None:
    try:
        ZoneInfo(settings["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Misconfigured(f"zone {settings['zone']!r} is not a time zone, such as Europe/Berlin") from error
    formats = settings["date_format"] if isinstance(settings["date_format"], list) else [settings["date_format"]]
    known = (ISO, *EPOCH_UNITS)
    for form in formats:
        if form not in known and "%" not in form:
            raise Misconfigured(f"date_format {form!r} is neither a format like %d.%m.%Y nor one of {', '.join(known)}")
    if not formats:
        raise Misconfigured("date_format is an empty list; omit it for ISO 8601")


def _check_fields(
    columns: Mapping[str, Any], constants: Mapping[str, Any], defaults: Mapping[str, Any], *, needs_customer: bool
) -> None:
    for field, listed in columns.items():
        for column in listed or [None]:
            if (not isinstance(column, str) or not column) and (type(column) is not int or column < 1):
                raise Misconfigured(f"columns.{field} must be a name or a position from 1, not {column!r}")
    mapped = [*columns, *constants]
    for field in [*mapped, *defaults]:
        if field not in FIELDS:
            raise Misconfigured(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
        if mapped.count(field) > 1:
            raise Misconfigured(f"{field} is both a column and a constant")
    for field in REQUIRED:
        if field not in mapped and (field != "customer_id" or needs_customer):
            raise Misconfigured(f"{field} must be a column or a constant")
    if ("total" in mapped) == ("unit_price" in mapped):
        raise Misconfigured("map either total or unit_price")
    if "net_total" in mapped and "discount" in mapped:
        raise Misconfigured("map either discount or net_total, not both")


def _statuses(table: Mapping[str, Any], is_mapped: bool) -> Mapping[str, str]:
    for value, outcome in table.items():
        if outcome not in OUTCOMES:
            raise Misconfigured(f"status.{value} must be one of {', '.join(OUTCOMES)}, not {outcome!r}")
    if is_mapped != bool(table):
        raise Misconfigured("the column status and the table [status], which says what its values mean, go together")
    return MappingProxyType({folded(value): outcome for value, outcome in table.items()})


def _joins(listed: Any) -> Sequence[Join]:
    try:
        return tuple(Join(file=str(each["file"]), on=str(each["on"])) for each in listed)
    except (KeyError, TypeError) as error:
        raise Misconfigured("a [[join]] needs file, another file of the export, and on, the column of both") from error


def check_currency(constants: Mapping[str, str], shops: str, path: Path) -> None:
    """Raises Misconfigured when every order of the file is in another currency than the shop's."""
    if (code := constants.get("currency", shops)) == shops:
        return
    if problem := problem_as_shops(code):
        raise Misconfigured(f"the mapping {path}: constants.currency {code} {problem}")
    raise Misconfigured(
        f"the orders of the mapping {path} are in {code}, but this shop's currency is {shops}: none would be counted."
        f" If the file's amounts are in {shops}, copy the mapping and set constants.currency = {shops!r} in it. For a"
        f" shop that sells in {code}, set INSIGHTS_CURRENCY={code}, in the environment or in .env, and start with an"
        " empty data folder"
    )
