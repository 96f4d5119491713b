"""What a registry may answer for an id, as far as servers differ. Without a stack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.errors import PoisonEvent, RegistryUnavailable
from schemas.registry import Registry


@contextmanager
def answering(status: int, body: bytes) -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Registry(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(404, 40403), (404, 404), (400, 400), (422, 42201)])
def test_an_id_that_the_registry_refuses_is_none(status: int, code: int) -> None:
    body = json.dumps({"error_code": code, "message": "no"}).encode()
    with answering(status, body) as registry, pytest.raises(PoisonEvent, match="no schema has the id 2147483647"):
        registry.schema_text(2**31 - 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"<html>no route</html>"), (401, b'{"error_code": 401, "message": "no"}'), (404, b"{}")],
)
def test_what_says_nothing_about_the_id_is_no_answer(status: int, body: bytes) -> None:
    with answering(status, body) as registry, pytest.raises(RegistryUnavailable):
        registry.schema_text(7)
