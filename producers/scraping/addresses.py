"""Which network addresses a request may reach, decided where the socket is made.

The address that is checked is the one that is connected to, for a name and for a number in an address alike. So a name
that resolves differently a moment later, or a redirect to the inside of a network, leads nowhere.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

Address = IPv4Address | IPv6Address
NAT64: Final = IPv6Network("64:ff9b::/96")
INSIDE: Final = "is inside a network, not on the public internet"
# What Python takes for public, and where clouds answer machines inside them (Azure, AWS, Google).
NEVER: Final = tuple(map(ip_network, ("192.0.0.0/24", "fec0::/10", "168.63.129.16", "fd00:ec2::/32", "fd20:ce::/64")))


class ForbiddenAddress(OSError):
    """A request would have gone to an address that it may not reach."""


def public(address: Address) -> bool:
    """Whether the address is on the public internet."""
    is_special = address.is_multicast or address.is_reserved or address.is_link_local or _is_never(address)
    return address.is_global and not is_special


def public_or_private(address: Address) -> bool:
    """Also this machine and its own network. Never where clouds keep their credentials: link-local and a few more."""
    if address.is_link_local or address.is_multicast or address.is_unspecified or _is_never(address):
        return False
    return public(address) or address.is_private or address.is_loopback


def _is_never(address: Address) -> bool:
    return any(address in network for network in NEVER)


def session(may_reach: Callable[[Address], bool], resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """A session whose connections reach only such addresses. It leaves answers packed, and keeps no cookies.

    A request to another address fails with an error whose ``os_error`` is a ForbiddenAddress.
    """

    def connected(info: tuple[int, int, int, str, tuple[str | bytes | int, ...]]) -> socket.socket:
        family, kind, protocol, _, place = info
        address = ip_address(str(place[0]).partition("%")[0])
        if not all(may_reach(each) for each in _reached(address)):
            hint = "; --private allows it" if all(map(public_or_private, _reached(address))) else ""
            raise ForbiddenAddress(errno.EACCES, f"{address} {INSIDE}{hint}")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=connected)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())


def _reached(address: Address) -> list[Address]:
    """The address, and the older one that a newer one leads to."""
    if isinstance(address, IPv4Address):
        return [address]
    inner = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None)
    if inner is not None:
        return [inner]
    tunnels = (address.sixtofour, address.teredo[1] if address.teredo else None)
    return [address, *(found for found in tunnels if found is not None)]
