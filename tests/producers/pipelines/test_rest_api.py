"""An API, read by the example of docs/sources.md."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from producers.pipelines.source import SourceFailed
from schemas import catalogue
from tests.producers.pipelines.conftest import Pipeline
from tests.producers.pipelines.documented import example

ORDERS = catalogue.event("sales.order_placed").topic
PAGE_SIZE = 2


class Api:
    """Orders by the time of their change, two a page. ``troubles`` are what the next answers are instead."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def order(self, number: int, price: str = "19.99") -> None:
        """JSON as the till writes it: the price is a number."""
        line = (
            f'{{"product_id": "bell", "category": "bells", "quantity": 1, "unit_price": {price}, "discount_amount": 0}}'
        )
        self.orders.append(
            f'{{"order_id": {number}, "customer_id": "C{number}", "country": "DE", "currency": "EUR",'
            f' "lines": [{line}], "shipping_amount": 0, "tax_amount": 0.00, "placed_at": "2026-07-01T12:00:00Z",'
            f' "changed_at": "2026-07-01T12:00:{number:02}Z"}}'
        )

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        asked = parse_qs(urlsplit(path).query)
        since, start = asked.get("changed_since", [""])[0], int(asked.get("from", ["0"])[0])
        found = [each for each in self.orders if json.loads(each)["changed_at"] >= since]
        page, more = found[start : start + PAGE_SIZE], len(found) > start + PAGE_SIZE
        link = f"{self.url}orders?changed_since={since}&from={start + PAGE_SIZE}" if more else None
        return f'{{"orders": [{", ".join(page)}], "next": {json.dumps(link)}}}'.encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(api) -> Any:  # noqa: N805 the handler's own self is another
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                trouble = api.troubles.pop(0) if api.troubles else ""
                body = api.answer(self.path)
                self.send_response(int(trouble) if trouble.isdigit() else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if trouble == "429":
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if trouble == "cut" else body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


@pytest.fixture
def till(api: Api, tmp_path: Path) -> Pipeline:
    text = example("python", "rest_api_source").replace("http://127.0.0.1:8000/", api.url)
    return Pipeline(tmp_path, text.replace("exact_session()", "exact_session(request_backoff_factor=0)"))


def published(till: Pipeline) -> list[str]:
    return [each["order_id"] for each in till.log.records(ORDERS)]


def test_all_pages_are_read_and_a_price_is_exactly_what_the_json_says(api: Api, till: Pipeline) -> None:
    for number in range(5):
        api.order(number, "0.07")
    assert till.read() is None
    assert published(till) == ["0", "1", "2", "3", "4"]
    assert {each["lines"][0]["unit_price"] for each in till.log.records(ORDERS)} == {Decimal("0.07")}


def test_the_next_reading_asks_for_what_changed_since(api: Api, till: Pipeline) -> None:
    api.order(1)
    api.order(2)
    till.read()
    api.order(3)
    del api.asked[:]
    till.read()
    assert api.asked == ["/orders?changed_since=2026-07-01T12%3A00%3A02Z"]
    assert published(till) == ["1", "2", "3"]


@pytest.mark.parametrize("trouble", ["429", "503", "cut"])
def test_an_answer_that_fails_is_asked_for_again(api: Api, till: Pipeline, trouble: str) -> None:
    for number in range(3):
        api.order(number)
    api.troubles = ["", trouble]
    till.read()
    assert published(till) == ["0", "1", "2"]
    assert len(api.asked) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # dlt leaves its connection open
def test_a_reading_that_fails_publishes_nothing_and_the_next_one_begins_at_the_same_place(
    api: Api, till: Pipeline
) -> None:
    for number in range(3):
        api.order(number)
    api.troubles = ["", *["503"] * 5]
    with pytest.raises(SourceFailed, match="503"):
        till.read()
    gc.collect()
    assert published(till) == []
    till.read()
    assert published(till) == ["0", "1", "2"]


def test_a_price_that_was_a_float_is_refused(api: Api, till: Pipeline) -> None:
    till.write(till.file.read_text().replace(', "session": exact_session(request_backoff_factor=0)', ""))
    api.order(1)
    assert "unit_price" in str(till.read())
    assert published(till) == []
