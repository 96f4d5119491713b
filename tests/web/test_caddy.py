"""docker/Caddyfile in a real Caddy: one address with TLS for the page, shops' webhooks and visitors' web events."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from insights.settings import PROJECT
from tests.conftest import free_ports, wait_until

CADDY = Path(sys.executable).with_name("caddy")
BEHIND = ("PAGE", "HOOKS", "COLLECT")


class Address:
    """Caddy's, as its visitors see it."""

    def __init__(self, port: int, authority: Path) -> None:
        self.url, self._authority = f"https://localhost:{port}", authority

    def get(self, path: str, **headers: str) -> tuple[dict[str, str], dict[str, str]]:
        """What who is behind it was asked, and the answer's headers."""
        trusted = ssl.create_default_context(cafile=str(self._authority))
        asked = Request(self.url + path, headers=headers)  # noqa: S310 https
        with urlopen(asked, context=trusted, timeout=5) as answer:  # noqa: S310
            return json.load(answer), {name.lower(): value for name, value in answer.headers.items()}


def answering(name: str) -> ThreadingHTTPServer:
    """A server that says who it is and for whom it was asked."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            said = {"name": name, "path": self.path, "for": self.headers.get("X-Forwarded-For", "")}
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("caddy")
    servers = {name: answering(name) for name in BEHIND}
    http, https = free_ports(2)
    environment = {
        "PATH": os.environ["PATH"],
        **dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder)),
        **{f"INSIGHTS_{name}": f"127.0.0.1:{server.server_port}" for name, server in servers.items()},
        **{"INSIGHTS_HTTP_PORT": str(http), "INSIGHTS_HTTPS_PORT": str(https)},
    }
    command = [CADDY, "run", "--config", PROJECT / "docker" / "Caddyfile", "--adapter", "caddyfile"]
    with (folder / "log").open("wb") as log:
        caddy = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    found = Address(https, folder / "caddy" / "pki" / "authorities" / "local" / "root.crt")

    def is_up() -> bool:
        assert caddy.poll() is None, (folder / "log").read_text()
        try:
            found.get("/")
        except (URLError, OSError):
            return False
        return True

    try:
        wait_until(is_up, seconds=30, what="Caddy with a certificate")
        yield found
    finally:
        caddy.terminate()
        caddy.wait(10)
        for server in servers.values():
            server.shutdown()
            server.server_close()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/?dashboard=orders", "PAGE"),
        ("/_stcore/health", "PAGE"),
        ("/hooks/shopify/bikes", "HOOKS"),
        ("/v1/events", "COLLECT"),
        ("/v1/tracker.js", "COLLECT"),
    ],
)
def test_each_path_reaches_the_server_that_it_is_for(address: Address, path: str, name: str) -> None:
    asked, _ = address.get(path)
    assert (asked["name"], asked["path"]) == (name, path)


def test_a_visitor_cannot_say_that_they_are_somebody_else(address: Address) -> None:
    asked, _ = address.get("/v1/events", **{"X-Forwarded-For": "203.0.113.7"})
    assert asked["for"] in ("127.0.0.1", "::1")


def test_browsers_are_told_to_come_by_https_alone(address: Address) -> None:
    _, headers = address.get("/")
    assert headers["strict-transport-security"] == "max-age=31536000"
