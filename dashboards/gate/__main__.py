"""Runs the page with its login: the gate here, and the page's server as its child. Either ends with the other.

The command line is that of the page, and the gate's own; secrets come as variables.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import closing, suppress
from pathlib import Path

from aiohttp import web

from dashboards.gate.access import Access
from dashboards.gate.oidc import Oidc, OidcSettings
from dashboards.gate.proxy import Page
from dashboards.gate.server import Gate, GateSettings
from dashboards.launch import arguments
from processes import EXIT_WITH_PARENT

CLIENT_SECRET = "INSIGHTS_OIDC_CLIENT_SECRET"  # noqa: S105 the name of a variable
STOP_SECONDS = 10
LARGEST_LINE = 8190


def main(command_line: list[str] | None = None) -> int:
    """Serve until SIGTERM or until the page's server ends. Returns the exit code."""
    options = _options(command_line)
    settings = GateSettings(login=options.login, address=options.address.rstrip("/"), folder=options.folder)
    oidc = None
    if settings.login == "oidc":
        found = OidcSettings(
            issuer=options.oidc_issuer,
            client_id=options.oidc_client_id,
            client_secret=os.environ.pop(CLIENT_SECRET, ""),
            roles_claim=options.oidc_roles_claim,
        )
        oidc = Oidc(found, f"{settings.address}/login/callback", time.time)
    # Only this user may enter such a folder. A path of a socket has 107 characters at most, so it is not in the data.
    with tempfile.TemporaryDirectory(prefix="insights-page-") as private, closing(Access(settings.folder)) as access:
        gate = Gate(settings, access, Page(Path(private) / "page"), time.time, oidc)
        return asyncio.run(_serve(options, gate, Path(private) / "page"))


def _options(command_line: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The live page, with a login.")
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--login", choices=("password", "oidc"), required=True)
    parser.add_argument("--address", required=True, help="how browsers reach the page: https://insights.example.com")
    parser.add_argument("--folder", type=Path, required=True, help="where users, sessions and links are kept")
    parser.add_argument("--oidc-issuer", default="")
    parser.add_argument("--oidc-client-id", default="")
    parser.add_argument("--oidc-roles-claim", default="roles")
    parser.add_argument("--dsn", required=True, help="Postgres connection string, in libpq's format")
    parser.add_argument("--currency", default="EUR", help="the shop's currency, an ISO 4217 code")
    parser.add_argument("--dashboard", type=Path, help="the dashboard shown first")
    return parser.parse_args(command_line)


async def _serve(options: argparse.Namespace, gate: Gate, socket: Path) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    page = await _page(options, socket)
    runner = web.AppRunner(
        gate.application(), access_log=None, shutdown_timeout=1, max_line_size=LARGEST_LINE, max_field_size=LARGEST_LINE
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.listen, options.port).start()
        ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(page.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
    finally:
        await runner.cleanup()
        await _end(page)
    return 0 if stopped.is_set() else 1


async def _page(options: argparse.Namespace, socket: Path) -> Process:
    """The page's server, which ends when this process does, even by kill -9."""
    server = Path(__file__).with_name("page_server.py")
    own = arguments(dsn=options.dsn, currency=options.currency, dashboard=options.dashboard)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXIT_WITH_PARENT), str(server), str(socket), *own, "--gated"), stdin=PIPE, stdout=DEVNULL
    )


async def _end(page: Process) -> None:
    with suppress(ProcessLookupError):
        page.terminate()
    try:
        await asyncio.wait_for(page.wait(), STOP_SECONDS)
    except TimeoutError:
        page.kill()
        await page.wait()


if __name__ == "__main__":
    sys.exit(main())
