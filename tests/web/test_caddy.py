"""docker/Caddyfile in a real Caddy: one address with TLS for the page, shops' webhooks and visitors' web events."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from insights.settings import PROJECT, Settings
from tests.conftest import free_ports, wait_until

CADDY = Path(sys.executable).with_name("caddy")
BEHIND = ("PAGE", "HOOKS", "COLLECT")
GUARDED = {"INSIGHTS_PAGE_LOGIN": "password", "INSIGHTS_PAGE_ADDRESS": "https://localhost"}


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


@contextmanager
def a_caddy(folder: Path, **settings: str) -> Iterator[Address]:
    """With these settings of the page's login, and a server behind it for each of BEHIND."""
    servers = {name: answering(name) for name in BEHIND}
    http, https = free_ports(2)
    environment = {
        "PATH": os.environ["PATH"],
        **dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder)),
        **{f"INSIGHTS_{name}": f"127.0.0.1:{server.server_port}" for name, server in servers.items()},
        **{"INSIGHTS_HTTP_PORT": str(http), "INSIGHTS_HTTPS_PORT": str(https), **settings},
    }
    command = [CADDY, "run", "--config", PROJECT / "docker" / "Caddyfile", "--adapter", "caddyfile"]
    with (folder / "log").open("wb") as log:
        caddy = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    found = Address(https, folder / "caddy" / "pki" / "authorities" / "local" / "root.crt")

    def is_up() -> bool:
        assert caddy.poll() is None, (folder / "log").read_text()
        try:
            found.get("/v1/events")
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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with a_caddy(tmp_path_factory.mktemp("caddy"), **GUARDED) as found:
        yield found


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


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"INSIGHTS_PAGE_LOGIN": "elsewhere", "INSIGHTS_PAGE_ADDRESS": "https://localhost"},
        {"INSIGHTS_PAGE_LOGIN": "password"},
        {"INSIGHTS_PAGE_LOGIN": "oidc", "INSIGHTS_PAGE_ADDRESS": "http://127.0.0.1:19501"},
    ],
    ids=["no login", "a login that is not here", "no address", "an address without TLS"],
)
def test_a_page_without_its_login_or_its_https_address_is_not_published(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with a_caddy(tmp_path, **settings) as found:
        for path in ("/", "/_stcore/stream", "/_stcore/health", "/share/x"):
            with pytest.raises(HTTPError) as refused:
                found.get(path)
            assert refused.value.code == 503
            assert "set INSIGHTS_PAGE_LOGIN" in refused.value.read().decode()


def test_the_hub_and_caddy_get_every_setting_of_the_pages_login() -> None:
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
    names = {
        f"INSIGHTS_{name.upper()}"
        for name in Settings.model_fields
        if name.startswith(("page_login", "page_address", "oidc_"))
    }
    assert "INSIGHTS_OIDC_ROLES_CLAIM" in names
    assert names <= set(services["hub"]["environment"])
    assert GUARDED.keys() <= set(services["caddy"]["environment"])
