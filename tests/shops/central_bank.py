"""A stand-in for the European Central Bank's site with its euro reference rates: three files of the published shape.

The rates are made up. On a working day the files have the new ones from 16:00 in Frankfurt on; it misbehaves when told.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Literal
from zoneinfo import ZoneInfo

from aiohttp import web

from tests.shops.serving import StandIn

DAY = timedelta(days=1)
ABOUT = {"USD": "1.08", "GBP": "0.86", "JPY": "158.2", "KRW": "1632.9", "CHF": "0.95", "IDR": "17120.5", "KWD": "0.33"}
"""The bank has no dinar; here one stands for all currencies with three decimals."""
Fault = Literal["429", "500", "cut", "page", "empty"]


def xml(rates: Mapping[date, Mapping[str, Decimal]]) -> bytes:
    """A file as the bank writes it, the newest day first."""
    days = "".join(
        f'<Cube time="{day}">'
        + "".join(f'<Cube currency="{code}" rate="{rate}"/>' for code, rate in rates[day].items())
        + "</Cube>"
        for day in sorted(rates, reverse=True)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01"'
        ' xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">'
        "<gesmes:subject>Reference rates</gesmes:subject>"
        "<gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>"
        f"<Cube>{days}</Cube></gesmes:Envelope>"
    ).encode()


class CentralBank(StandIn):
    """``rates`` is all that it ever publishes; ``now`` decides what it has published."""

    def __init__(self, since: date, until: date, *, seed: int = 1, holidays: tuple[date, ...] = ()) -> None:
        self.random = random.Random(seed)
        self.now = datetime.combine(until, time(23), UTC)
        self.rates: dict[date, dict[str, Decimal]] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, int]] = []  # each file with the status of its answer
        day = since
        while day <= until:
            if day.weekday() < 5 and day not in holidays:
                self.rates[day] = {code: self._drawn(about) for code, about in ABOUT.items()}
            day += DAY

    def _drawn(self, about: str) -> Decimal:
        return Decimal(about) + self.random.randint(-9, 9) * Decimal(1).scaleb(Decimal(about).as_tuple().exponent)  # type: ignore[arg-type]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{file}", self._file)
        return app

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        response = self._answer(request, name)
        self.asked.append((name, response.status))
        return response

    def _answer(self, request: web.Request, name: str) -> web.Response:
        fault = self.faults.pop(0) if self.faults else None
        if fault in ("429", "500"):
            return web.Response(status=int(fault))
        if fault == "page":
            return web.Response(text="<html><body>The site is being maintained</body></html>", content_type="text/html")
        local = self.now.astimezone(ZoneInfo("Europe/Berlin"))
        newest = local.date() if local.time() >= time(16) else local.date() - DAY
        out = {day: rates for day, rates in self.rates.items() if day <= newest}
        if name == "eurofxref-daily.xml":
            out = {max(out): out[max(out)]}
        elif name == "eurofxref-hist-90d.xml":
            out = {day: rates for day, rates in out.items() if day > newest - 90 * DAY}
        elif name != "eurofxref-hist.xml":
            return web.Response(status=404)
        body = xml({} if fault == "empty" else out)
        if fault == "cut":
            return web.Response(body=body[: len(body) // 2])
        etag = f'"{sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, headers={"ETag": etag}, content_type="text/xml")
