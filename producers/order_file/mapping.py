r"""What the columns of an order file are, from a TOML file.

::

    source = "cdnow"              # what the events say they come from; short, lower case
    delimiter = "whitespace"      # or one character: ",", ";", "\t" (quoted as in CSV)
    header = true                 # is the first row a header? then columns may be called by its names
    date_format = "%Y%m%d"        # as in Python's strptime
    zone = "UTC"                  # of dates that name none
    decimal_point = "."
    encoding = "utf-8"

    [columns]                     # field = name in the header, or position from 1
    customer_id = "customer_id"
    occurred_at = "date"
    quantity = 3                  # without it every row is one unit
    total = 4                     # money for all units of the row; or unit_price, for one

    [constants]                   # fields that are the same in every row
    category = "Music"

Fields are customer_id, occurred_at, quantity, total or unit_price, product_id, category, brand, region, currency,
channel and order_id. Rows of one order_id are the lines of one order; without it a row is an order, named after the
source and its line: two files of one source would have the same orders.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.currency import problem_as_shops
from schemas.errors import Misconfigured

REQUIRED: Final = ("customer_id", "occurred_at", "product_id", "category", "region", "currency", "channel")
OPTIONAL: Final = ("quantity", "total", "unit_price", "brand", "order_id")
SETTINGS: Final = {
    "source": None,
    "delimiter": None,
    "header": False,
    "date_format": "%Y-%m-%d",
    "zone": "UTC",
    "decimal_point": ".",
    "encoding": "utf-8",
}
WHITESPACE: Final = "whitespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """A mapping that was read: every required field is a column or a constant."""

    source: str
    delimiter: str
    header: bool
    date_format: str
    zone: str
    decimal_point: str
    encoding: str
    columns: Mapping[str, str | int]
    constants: Mapping[str, str]

    def positions(self, header: list[str] | None) -> dict[str, int]:
        """Where each mapped field stands in a row, from 0. Raises Misconfigured for a name the header lacks."""
        return {field: self._position(field, column, header) for field, column in self.columns.items()}

    def _position(self, field: str, column: str | int, header: list[str] | None) -> int:
        if isinstance(column, int):
            return column - 1
        if header is None or column not in header:
            names = ", ".join(header) if header else "none: header = false"
            raise Misconfigured(f"the mapping's column {column!r} for {field} is not in the file; it has {names}")
        return header.index(column)


def load(path: Path) -> ColumnMapping:
    """The mapping in a TOML file. Raises Misconfigured naming the file, the key and what it should be."""
    try:
        return _parsed(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Misconfigured(f"the mapping {path} can't be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"the mapping {path} is not TOML: {error}") from error
    except Misconfigured as error:
        raise Misconfigured(f"the mapping {path}: {error}") from error


def _parsed(toml: Mapping[str, Any]) -> ColumnMapping:
    columns, constants = toml.get("columns", {}), toml.get("constants", {})
    settings = {**SETTINGS, **{name: value for name, value in toml.items() if name not in ("columns", "constants")}}
    _check_settings(settings)
    _check_fields(columns, constants)
    return ColumnMapping(
        **settings,
        columns=MappingProxyType(dict(columns)),
        constants=MappingProxyType({field: str(value) for field, value in constants.items()}),
    )


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name not in SETTINGS:
            raise Misconfigured(f"there is no setting {name!r}; there are {', '.join(SETTINGS)}")
        kind = bool if name == "header" else str
        if not isinstance(value, kind) or value == "":
            raise Misconfigured(f"{name} must be a {'true or false' if kind is bool else 'string'}")
    if settings["delimiter"] != WHITESPACE and len(settings["delimiter"]) != 1:
        raise Misconfigured(f"delimiter must be one character or {WHITESPACE!r}, not {settings['delimiter']!r}")
    try:
        ZoneInfo(settings["zone"])
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Misconfigured(f"zone {settings['zone']!r} is not a time zone, such as Europe/Berlin") from error


def _check_fields(columns: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
    for field, column in columns.items():
        if not isinstance(column, str) and (type(column) is not int or column < 1):
            raise Misconfigured(f"columns.{field} must be a name or a position from 1, not {column!r}")
    mapped = [*columns, *constants]
    for field in mapped:
        if field not in REQUIRED + OPTIONAL:
            raise Misconfigured(f"there is no field {field!r}; there are {', '.join(REQUIRED + OPTIONAL)}")
        if mapped.count(field) > 1:
            raise Misconfigured(f"{field} is both a column and a constant")
    for field in REQUIRED:
        if field not in mapped:
            raise Misconfigured(f"{field} must be a column or a constant")
    if ("total" in mapped) == ("unit_price" in mapped):
        raise Misconfigured("map either total or unit_price")


def check_currency(constants: Mapping[str, str], shops: str, path: Path) -> None:
    """Raises Misconfigured when every order of the file is in another currency than the shop's."""
    if (code := constants.get("currency", shops)) == shops:
        return
    if problem := problem_as_shops(code):
        raise Misconfigured(f"the mapping {path}: constants.currency {code} {problem}")
    raise Misconfigured(
        f"the orders of the mapping {path} are in {code}, and this shop's currency is {shops}: none would be counted."
        f" For a shop that sells in {code}, set INSIGHTS_CURRENCY={code}, in the environment or in .env, and start with"
        " an empty data folder"
    )
