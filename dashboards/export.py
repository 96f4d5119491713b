"""A card's rows as CSV. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from dashboards.query import Row

# What a spreadsheet would take for the beginning of a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
NO_FILE_NAME = re.compile(r"[^a-z0-9]+")


def csv_of(rows: Sequence[Row]) -> bytes:
    """All rows under the names of their columns, in UTF-8 with a mark, so that spreadsheets see that it is.

    Numbers have every digit and a point, times are ISO 8601 in UTC, null is empty. A text that a spreadsheet would run
    as a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if rows:
        writer.writerow([_cell(name) for name in rows[0]])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def file_name(dashboard: str, card: str, values: Sequence[str], at: datetime) -> str:
    """``customers_segments_eu_20260304-1030.csv``: dashboard, card, what was chosen, when it was read (UTC)."""
    chosen = [NO_FILE_NAME.sub("-", value.lower()).strip("-")[:40] for value in values]
    return "_".join([dashboard, card, *filter(None, chosen), f"{at.astimezone(UTC):%Y%m%d-%H%M}"]) + ".csv"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int | float | date):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
