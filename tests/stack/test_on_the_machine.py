"""What other users of the machine, and of the network, can reach of a running stack."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

from insights.settings import Settings
from insights.stack.states import supervisor_process
from insights.wiring import deployment
from warehouse.logins import Role, login


def test_every_socket_of_every_process_listens_on_loopback_only(stack: Settings) -> None:
    supervisor = supervisor_process(stack)
    assert supervisor is not None
    listening = {
        (process.name(), ipaddress.ip_address(connection.laddr.ip))
        for process in [supervisor, *supervisor.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len({name for name, _ in listening}) >= 3, "these are not the processes of a stack"
    assert [(name, str(ip)) for name, ip in listening if not _is_loopback(ip)] == []


def _is_loopback(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_no_file_that_another_user_can_read_holds_a_password_of_the_stack(stack: Settings) -> None:
    secrets = {
        login(role, deployment(stack).postgres_database, stack.postgres_password).password.encode() for role in Role
    }
    held = {path for path in _files(stack.home) if any(secret in path.read_bytes() for secret in secrets)}
    assert held, "there are configurations with passwords"
    assert {path for path in held if _is_open(path, stack.home)} == set()
    assert stat.S_IMODE(stack.home.stat().st_mode) == 0o700


def _files(home: Path) -> Iterator[Path]:
    for folder in ("conf", "run", "flink", "producers", "replay"):
        yield from (p for p in (home / folder).rglob("*") if p.is_file() and p.stat().st_size < 1 << 20)


def _is_open(path: Path, home: Path) -> bool:
    """May others read it? For that they must pass every folder up to the stack's own."""
    folders = [path.parent, *(p for p in path.parent.parents if p.is_relative_to(home))]
    return bool(path.stat().st_mode & 0o044) and all(folder.stat().st_mode & 0o011 for folder in folders)
