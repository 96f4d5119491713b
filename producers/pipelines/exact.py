"""JSON of an API without floats: a price of 19.99 is a decimal from the first byte on."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import requests
from dlt.sources.helpers.requests import Client


def exact_session(**settings: Any) -> requests.Session:
    """What dlt's ``rest_api`` takes as its client's ``session``: the JSON of its answers has Decimals.

    It asks again as dlt does, after 429 by Retry-After. ``settings`` are those of dlt's ``requests.Client``, such as
    ``request_max_attempts``.
    """
    session: requests.Session = Client(**{"raise_for_status": False, **settings}).session
    send = session.send

    def send_exactly(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        answer = send(request, **options)
        answer.json = partial(answer.json, parse_float=Decimal)  # type: ignore[method-assign]
        return answer

    session.send = send_exactly  # type: ignore[method-assign]
    return session
