"""Which network addresses a shop's site may be at, whatever its name resolves to."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import unused_port

from producers.scraping import addresses
from producers.scraping.fetching import FetchFailed, HttpFetch, Pace
from tests.web.conftest import running
from tests.web.test_fetching import Clock, refusal


@pytest.mark.parametrize(
    ("address", "may_public", "may_private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.1", False, True),
        ("fd00::1", False, True),
        ("::1", False, True),
        ("100.64.0.1", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("192.0.0.11", False, False),
        ("fec0::1", False, False),
        ("168.63.129.16", False, False),
        ("fd00:ec2::254", False, False),
        ("fd20:ce::254", False, False),
        ("0.0.0.0", False, False),  # noqa: S104 an address that must not be reached
        ("::", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_which_addresses_may_be_reached(address: str, may_public: bool, may_private: bool) -> None:
    given = ip_address(address)
    assert (addresses.public(given), addresses.public_or_private(given)) == (may_public, may_private)


@pytest.mark.parametrize(
    "host",
    ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2001:0:1:2:3:4:80ff:fffe", "::ffff:169.254.169.254"],
)
def test_an_address_that_leads_to_one_inside_a_network_is_refused(host: str) -> None:
    refused = refusal(f"http://[{host}]/", may_reach=addresses.public)
    assert "is inside a network" in refused
    assert ("--private allows it" in refused) == ("7f00" in host or "80ff" in host)


class Several(AbstractResolver):
    """A name server that knows an address of each kind for every name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        given = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host=at, port=port, family=f, proto=0, flags=flags) for f, at in given]

    async def close(self) -> None:
        return None


def test_a_name_of_several_addresses_inside_a_network_is_not_asked_for_again() -> None:
    clock = Clock()
    refused = refusal("http://shop.example/", may_reach=addresses.public, resolver=Several(), tries=3, clock=clock)
    assert "::1 is inside a network" in refused
    assert "127.0.0.1 is inside a network" in refused
    assert clock.now == 0


class Rebinding(AbstractResolver):
    """A name server that gives another address each time it is asked."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        given = self.hosts.pop(0)
        return [
            ResolveResult(hostname=host, host=given, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        return None


def test_a_name_that_resolves_to_the_inside_a_moment_later_is_refused() -> None:
    """127.0.0.1 stands for a public address here, and 127.0.0.2 for one inside the network."""

    def only_the_first(address: Any) -> bool:
        return str(address) == "127.0.0.1"

    async def go() -> None:
        resolver = Rebinding("127.0.0.1", "127.0.0.2")
        clock = Clock()
        async with addresses.session(only_the_first, resolver) as session:
            session.connector._use_dns_cache = False  # type: ignore[union-attr]  # as if its time had passed
            fetch = HttpFetch(session, Pace(0.0, clock, clock.sleep))
            assert (await fetch(f"http://shop.example:{port}/")).body == b"outside"
            with pytest.raises(FetchFailed, match=r"127\.0\.0\.2 is inside a network"):
                await fetch(f"http://shop.example:{port}/")

    async def outside(_request: web.Request) -> web.Response:
        return web.Response(text="outside", headers={"Connection": "close"})

    port = unused_port()
    application = web.Application()
    application.router.add_get("/{path:.*}", outside)
    with running(application, port), socket.create_server(("127.0.0.2", port)) as inside:
        inside.settimeout(0)
        asyncio.run(go())
        with pytest.raises(BlockingIOError):
            inside.accept()
