"""Is this machine fit to run the stack? Every finding names the thing and the setting that changes it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from insights import jars
from insights.settings import HOST, PROJECT, Settings
from insights.shops_clock import clock_of
from insights.stack import PartState, part_states
from insights.stack.elsewhere import Server, ServerAway, roles_kept_out, servers_elsewhere
from insights.stack.managed_job import ManagedJob
from insights.stack.page import page_address
from insights.wiring import FLINK_ENVIRONMENT
from schemas.errors import Misconfigured, Retryable
from schemas.plural import counted

Level = Literal["ok", "warning", "error"]
PYTHONS = ((3, 11), (3, 12))
ENOUGH_FILES = 4096
GB = 1e9
CGROUP = Path("/sys/fs/cgroup")
ASK_REGISTRY_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. ``advice`` is empty if it passed."""

    level: Level
    what: str
    advice: str = ""


class NotFit(Misconfigured):
    """The machine can't run the stack as it is set up; the message has every reason and its remedy."""


def check(settings: Settings) -> list[Finding]:
    """Check the machine, the servers that run elsewhere, and whether an imported file's orders count.

    Blocks at most a second, or until a server or a package registry that does not answer times out. By payment date,
    also while two columns of the lake's orders are read.
    """
    servers = servers_elsewhere(settings)
    if settings.deploy_stream:
        servers.append(ManagedJob(settings, settings.deploy_stream).server)
    elsewhere = (check_elsewhere(server) for server in servers)
    found = [*check_machine(settings), *elsewhere, *check_roles(settings)]
    return [*found, *check_sales_date(settings), *check_provider(settings)]


def check_machine(settings: Settings) -> list[Finding]:
    """The same without the servers that run elsewhere."""
    parts = part_states(settings)
    return [
        check_python(sys.version_info[:2]),
        check_programs(),
        check_home(settings.home),
        check_disk(settings),
        check_memory(settings, in_use_mb=sum(part.memory_mb or 0 for part in parts)),
        check_open_files(),
        *check_ports(settings, parts),
        *check_downloads(settings),
        *check_page(settings),
    ]


def require_fit(settings: Settings) -> list[Finding]:
    """Check the machine, and raise NotFit with every error's text; returns the findings otherwise."""
    findings = check_machine(settings)
    errors = [f"{finding.what}. {finding.advice}." for finding in findings if finding.level == "error"]
    if errors:
        raise NotFit(" ".join(errors))
    return findings


def check_python(version: tuple[int, ...]) -> Finding:
    """3.11 or 3.12: Flink's client has no release for others."""
    what = f"Python {version[0]}.{version[1]}"
    if version in PYTHONS:
        return Finding(level="ok", what=what)
    advice = "PyFlink supports 3.11 and 3.12 only: remove .venv and choose one with `make up PYTHON=python3.12`"
    return Finding(level="error", what=f"{what} is not supported", advice=advice)


def check_programs() -> Finding:
    """The system's own programs that the parts need: Flink's scripts are bash, Postgres refuses to run as root."""
    needed = {"bash": "Flink's scripts need it"}
    if os.geteuid() == 0:
        needed["setpriv"] = "Postgres refuses to run as root, and setpriv (in util-linux) runs it as another user"
    for program, why in needed.items():
        if not shutil.which(program):
            return Finding(level="error", what=f"{program} is not on the PATH", advice=f"{why}: install it")
    return Finding(level="ok", what=f"{' and '.join(needed)} are installed" if len(needed) > 1 else "bash is installed")


def check_home(home: Path) -> Finding:
    """Whether the data folder can be created and written."""
    try:
        nearest = _nearest_existing(home)
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as problem:
        return Finding(
            level="error",
            what=f"the data folder {home} is not writable: {problem.strerror}",
            advice="Choose another with INSIGHTS_HOME, or make this one writable",
        )
    return Finding(level="ok", what=f"the data folder {home} is writable")


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_disk(settings: Settings) -> Finding:
    """Free space where the data goes."""
    free = shutil.disk_usage(_nearest_existing(settings.home)).free / GB
    what = f"{free:.1f} GB of disk space free for {settings.home}"
    if free >= settings.min_disk_gb:
        return Finding(level="ok", what=what)
    return Finding(
        level="error",
        what=f"{what}; {settings.min_disk_gb:g} GB are required",
        advice="Free some space, move the data with INSIGHTS_HOME, or lower the limit with INSIGHTS_MIN_DISK_GB",
    )


def check_memory(settings: Settings, *, in_use_mb: float = 0) -> Finding:
    """Memory available to the stack, including what its own parts already use."""
    available = (available_memory() + in_use_mb * 1e6) / GB
    what = f"{available:.1f} GB of memory available"
    if available >= settings.min_memory_gb:
        return Finding(level="ok", what=what)
    return Finding(
        level="error",
        what=f"{what}; {settings.min_memory_gb:g} GB are required",
        advice="Close other programs, make the parts smaller (INSIGHTS_TASKMANAGER_MEMORY_MB, INSIGHTS_KAFKA_HEAP_MB),"
        " or lower the limit with INSIGHTS_MIN_MEMORY_GB",
    )


def available_memory() -> int:
    """Bytes available on the machine, or in the container if that allows less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (CGROUP / "memory.max").read_text().strip(), int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


def check_open_files() -> Finding:
    """Kafka and Postgres hold many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"a process may open {soft} files"
    if soft >= ENOUGH_FILES or soft == resource.RLIM_INFINITY:
        return Finding(level="ok", what=what)
    return Finding(
        level="warning",
        what=f"{what}; {ENOUGH_FILES} are recommended",
        advice=f"Raise the limit in this shell: `ulimit -n {min(hard, 65536) if hard > 0 else 65536}`",
    )


def check_ports(settings: Settings, parts: list[PartState]) -> Iterator[Finding]:
    """Each port: free, or used by a part of this stack; and no two settings with the same port."""
    ours = _families([part.pid for part in parts if part.pid])
    listeners = _listeners()
    seen: dict[int, str] = {}
    spoken_for = set(settings.own_ports().values())
    fine = []
    for name, port in settings.own_ports().items():
        if port in seen:
            yield _port_finding(name, f"port {port} is set for {name} and for {seen[port]}", spoken_for)
        elif port_is_taken(port) and listeners.get(port, 0) not in ours:
            yield _port_finding(name, f"port {port} ({name}) is used by {_who(listeners.get(port))}", spoken_for)
        else:
            fine.append(port)
        seen[port] = name
    if fine:
        yield Finding(level="ok", what=f"ports {', '.join(map(str, fine))} are free or used by this stack")


def check_sales_date(settings: Settings) -> list[Finding]:
    """By payment date, what does not count by it, and the refunds and sources that count nowhere.

    None by order date, nor while the lake is away.
    """
    if clock_of(settings.home).payment is None:
        return []
    from insights.time_zone import behind_in_date, uncounted_sources, unpaid_refunds  # loads what reads a lake

    behind: list[str] = []
    names: tuple[str, ...] = ()
    refunds: dict[str, int] = {}
    with suppress(Retryable, Misconfigured):  # before `make up`
        behind = behind_in_date(settings)
        names = uncounted_sources(settings)
        refunds = unpaid_refunds(settings)
    waits = Finding(
        level="warning",
        what=f"sales are by payment date, {', '.join(behind)} not yet, and no late event counts until they are",
        advice="`insights sales-by payment-date`, given again, counts them by payment date",
    )
    silent = (
        Finding(
            level="warning",
            what=f"sales are by payment date, and {counted(number, 'refund')} of {name} count nowhere: not said is when"
            " the order was paid, although the order says it",
            advice="Import its file again; of a connected shop, wait until `insights logs connections` says that it"
            " has read the refunds",
        )
        for name, number in refunds.items()
    )
    return (
        [waits] * bool(behind)
        + [*silent]
        + [
            Finding(
                level="warning",
                what=f"sales are by payment date, and orders of {name} count nowhere: none says when it was paid",
                advice="`insights sales-by payment-date`, given again, counts them by order date",
            )
            for name in names
        ]
    )


def check_roles(settings: Settings) -> list[Finding]:
    """Whether each role that `up` made in a Postgres elsewhere can log in: its server may admit the owner alone."""
    advice = "Admit it in pg_hba.conf, and in a pooler, as the owner is admitted; `insights up` sets its password anew"
    return [Finding(level="error", what=problem, advice=advice) for problem in roles_kept_out(settings)]


def check_page(settings: Settings) -> Iterator[Finding]:
    """Who can see the page, and whether anybody can log in."""
    is_apart = settings.listen == HOST
    if not settings.has_gate and (is_apart or settings.page_login == "elsewhere"):
        yield Finding(level="ok", what="the page has no login, and is for this machine or behind a proxy")
    elif not settings.has_gate:
        yield Finding(
            level="warning",
            what=f"the page has no login: anyone who can reach port {settings.page_port} of this machine sees it",
            advice="Set INSIGHTS_PAGE_LOGIN to password or oidc; or to elsewhere, if only this machine, or a proxy with"
            " a login, can reach the port",
        )
    else:
        yield Finding(level="ok", what=f"the page has a login: {settings.page_login}")
    if settings.has_gate and not is_apart and not page_address(settings).startswith("https://"):
        yield Finding(
            level="warning",
            what="the page's login is not encrypted: passwords and sessions can be read on the network",
            advice="Put a proxy with TLS in front of it, and set INSIGHTS_PAGE_ADDRESS to its https:// address",
        )
    if settings.page_login == "password" and not _has_users(settings):
        yield Finding(
            level="warning",
            what="nobody can log in to the page, because there is no user",
            advice="Add one: `insights page user add NAME --role operator`",
        )


def _has_users(settings: Settings) -> bool:
    from dashboards.gate.access import FILE, opened

    if not (settings.page_dir / FILE).exists():
        return False
    with opened(settings.page_dir) as access:
        return bool(access.users())


def check_provider(settings: Settings) -> Iterator[Finding]:
    """Whether the page's login provider answers. Blocks for some seconds where it doesn't."""
    if settings.page_login != "oidc":
        return
    from dashboards.gate.oidc import Oidc, OidcSettings  # half a second to load

    found = OidcSettings(issuer=settings.oidc_issuer or "", client_id="", client_secret="")
    try:
        Oidc(found, "", time.time).discover()
    except (Retryable, Misconfigured) as error:
        yield Finding(level="error", what=str(error), advice="Correct INSIGHTS_OIDC_ISSUER, or start the provider")
    else:
        yield Finding(level="ok", what=f"the login provider {settings.oidc_issuer} answers")


def check_elsewhere(server: Server) -> Finding:
    """Whether a server that runs elsewhere answers, and as who is configured."""
    try:
        return Finding(level="ok", what=f"{server.name}: {server.ask()}")
    except ServerAway as away:
        return Finding(level="error", what=str(away), advice="Correct the setting, or start the server")


def port_is_taken(port: int) -> bool:
    """Whether something listens on the port, or it is not available."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection is no holder
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _port_finding(name: str, what: str, spoken_for: set[int]) -> Finding:
    port = next(p for p in range(max(spoken_for) + 1, 65536) if not port_is_taken(p))
    spoken_for.add(port)
    return Finding(level="error", what=what, advice=f"Choose another: INSIGHTS_{name.upper()}={port}")


def _listeners() -> dict[int, int]:
    """By port, the id of the process that listens on it, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return {}
    return {c.laddr.port: c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.pid and c.laddr}


def _families(pids: list[int]) -> set[int]:
    family: set[int] = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family |= {pid, *(child.pid for child in process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return family


def _who(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (process {pid} of user {process.username()})"
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return f"process {pid}"


def check_downloads(settings: Settings) -> Iterator[Finding]:
    """If something must still be downloaded: what, and whether the registry answers the client that downloads it."""
    jars_missing = jars.missing(settings.jars, jars.of_stack(settings))
    if jars_missing:
        megabytes = sum(jar.bytes for jar in jars_missing) / 1e6
        yield Finding(level="ok", what=f"{len(jars_missing)} jars ({megabytes:.0f} MB) will be downloaded")
    if not any(FLINK_ENVIRONMENT.glob("lib/*/site-packages/pyflink")):
        yield check_package_registry()


def check_package_registry() -> Finding:
    """Whether the package registry has the locked uv, with the configuration that an installation would use."""
    uv = PROJECT / ".venv-tools" / "bin" / "uv"
    command = [str(uv), "pip", "install", "--quiet", "--dry-run", "--no-deps", "--refresh", "--reinstall"]
    lock = ["--python", sys.executable, "--require-hashes", "-r", str(PROJECT / "requirements" / "uv.txt")]
    try:
        done = subprocess.run(
            [*command, *lock],
            capture_output=True,
            text=True,
            timeout=ASK_REGISTRY_SECONDS,
            check=False,
            env={**os.environ},
        )
        problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = [str(error)]
    if not problem:
        return Finding(level="ok", what="the package registry is reachable")
    return Finding(
        level="error",
        what=f"Flink's environment is not installed yet and the package registry is unreachable: {problem[0]}",
        advice="Check the network, or set another registry with UV_DEFAULT_INDEX; then run `make up` again",
    )
