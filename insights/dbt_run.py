"""Runs dbt in its own environment, with this stack's settings, and records the result in Postgres.

dbt's folder of compiled SQL is in the stack's own (``INSIGHTS_HOME/dbt``), its log with the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote

import psycopg

from aggregates.zones import Zone
from insights.dbt_results import Built, DbtFailed, read_results
from insights.settings import PROJECT, Settings
from insights.shop_zones import publish, zones_of_shops
from insights.shops_clock import clock_of
from processes import EXIT_WITH_PARENT
from schemas.errors import InsightsError, Misconfigured, Retryable
from warehouse.logins import Role, login
from warehouse.postgres import opened

PYTHON = PROJECT / ".venv-dbt" / "bin" / "python"
DBT = PYTHON.parent / "dbt"
KINDER = 10
DBT_CODES = (0, 1)  # all is well; a model or test failed. Any other is no end that dbt meant.
# Postgres' settings for dbt's sessions. Room for a year of orders to be grouped in memory: its 4 MB are soon full,
# and then it sorts on disk. No compiling of queries: for some seconds of work it costs more than it gives. No waiting
# for the disk at a commit: a crash of the server may lose the newest builds, whole ones and in order, and the next does
# them again.
SESSION = "-c work_mem=48MB -c jit=off -c synchronous_commit=off"
LOCK = "select pg_try_advisory_lock(hashtextextended('insights.dbt', 0))"
KEPT_DAYS = 30
NO_SHOPS: Mapping[str, Zone | None] = MappingProxyType({})
Connection = psycopg.Connection[tuple[Any, ...]]
Say = Callable[[str], None]
"""Called with each line of progress."""


class DbtBusy(Retryable):
    """Another build is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastBuild:
    """The newest build that ended. ``outcome``: ok, failed tests, or failed."""

    outcome: str
    ended_at: datetime
    seconds: float
    models: int
    tests: int
    failures: int
    message: str


def last_build(connection: Connection) -> LastBuild | None:
    """None before there was one. May raise psycopg.Error."""
    try:
        row = connection.execute(
            "select outcome, ended_at, extract(epoch from ended_at - started_at)::float8, models, tests, failures,"
            " message from ops.dbt_builds where ended_at is not null order by started_at desc limit 1"
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    if row is None:
        return None
    outcome, ended_at, seconds, models, tests, failures, message = row
    return LastBuild(
        outcome=outcome,
        ended_at=ended_at,
        seconds=round(seconds, 1),
        models=models or 0,
        tests=tests or 0,
        failures=failures or 0,
        message=message or "",
    )


def build(settings: Settings, select: str | None, *, full_refresh: bool, say: Say) -> Built:
    """Builds and tests the marts, or those selected, and records it. Blocks, for as long as it takes.

    Raises DbtBusy when a build is running, DbtFailed when dbt does not get as far as building, Misconfigured when its
    environment is missing, Retryable when Postgres is away.
    """
    _require_environment()
    # Unit tests are of the code, which does not change from build to build: `make test` runs them. Of a selection, only
    # those tests whose models are all in it: others would compare what is built now with what was built before.
    scope = "cautious" if select else "eager"
    arguments = ["build", "--exclude-resource-type", "unit_test", "--indirect-selection", scope]
    arguments += ["--select", *select.split()] if select else []
    arguments += ["--full-refresh"] if full_refresh else []
    with _alone(settings) as connection:
        shops = publish(connection, settings)
        number = _begin(connection, " ".join([select or "", "--full-refresh" if full_refresh else ""]).strip())
        results = settings.dbt_dir / "target" / "run_results.json"
        results.unlink(missing_ok=True)
        try:
            words = run(settings, arguments, say, shops)
            if not results.exists():
                _require_postgres(connection, settings)
                raise DbtFailed(f"dbt built nothing: {words or 'it gave no reason'}. Its log: {log_path(settings)}")
            built = read_results(settings.dbt_dir / "target")
            if not built.models and not built.tests:
                raise DbtFailed(
                    f"no model matches {select}: --select takes names of models (daily_sales), with a + for all"
                    " before or after (+daily_sales), or folders (marts.web)"
                )
        except InsightsError as error:
            with suppress(psycopg.OperationalError):  # then the next build notes how this one ended
                _end(connection, number, "failed", 0, 0, 0, str(error))
            raise
        record(connection, number, built)
    return built


def documents(settings: Settings, say: Say) -> Path:
    """Writes the marts' documentation as one HTML file and returns its path. Blocks. Raises as ``build`` does."""
    _require_environment()
    words = run(settings, ["docs", "generate", "--static"], say)
    page = settings.dbt_dir / "target" / "static_index.html"
    if words or not page.exists():
        raise DbtFailed(f"dbt wrote no documentation: {words}. Its log: {log_path(settings)}")
    return page.replace(settings.dbt_dir / "marts.html")


def log_path(settings: Settings) -> Path:
    """The log that dbt writes itself."""
    return settings.logs_dir / "dbt.log"


def code_of_macros(project: Path, zone: Zone | None = None) -> str:
    """A text that changes with the macros of the dbt project, and with what a day is to them.

    dbt gives a model no hash of its macros.
    """
    texts = [path.read_bytes() for path in sorted((project / "macros").rglob("*.sql"))]
    texts += [repr(zone).encode()] if zone else []
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def project_environment(
    target: str, *, compiled: Path, logs: Path, zone: Zone | None = None, shops: Mapping[str, Zone | None] = NO_SHOPS
) -> dict[str, str]:
    """The environment of dbt for a target of our project: where things are, the time zones of days, no telemetry."""
    return {
        **os.environ,
        "DBT_PROJECT_DIR": str(PROJECT / "dbt"),
        "DBT_PROFILES_DIR": str(PROJECT / "dbt"),
        "DBT_TARGET_PATH": str(compiled),
        "DBT_LOG_PATH": str(logs),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
        "INSIGHTS_DBT_TARGET": target,
        "INSIGHTS_DBT_MACROS": code_of_macros(PROJECT / "dbt", zone),
        "INSIGHTS_DBT_TIME_ZONE": zone.name if zone else "UTC",
        "INSIGHTS_DBT_SHOP_ZONES": " ".join(f"{shop}={each.name if each else 'UTC'}" for shop, each in shops.items()),
        "INSIGHTS_DBT_SHOP_DAYS": hashlib.sha256(repr((zone, shops)).encode()).hexdigest() if shops else "",
    }


def environment(settings: Settings, shops: Mapping[str, Zone | None] | None = None) -> dict[str, str]:
    """The environment of dbt for building this stack's marts. ``shops``: the zones of Postgres, else the newest."""
    at = settings.postgres
    found = login(Role.DBT, settings.postgres_database, unquote(at.password or ""))
    return {
        **project_environment(
            "dev",
            compiled=settings.dbt_dir / "target",
            logs=settings.logs_dir,
            zone=clock_of(settings.home).zone,
            shops=zones_of_shops(settings) if shops is None else shops,
        ),
        "INSIGHTS_DBT_SEVERITY": "warn",  # models after a failed test are still built
        "PGOPTIONS": SESSION,
        "INSIGHTS_POSTGRES_HOST": at.hostname or "",
        "INSIGHTS_POSTGRES_PORT": str(at.port or 5432),
        "INSIGHTS_POSTGRES_USER": found.user,
        "INSIGHTS_POSTGRES_PASSWORD": found.password,
        "INSIGHTS_POSTGRES_DATABASE": settings.postgres_database,
        **{f"PG{name.upper()}": value for name, value in parse_qsl(at.query)},  # as libpq calls them: PGSSLMODE
    }


def run(settings: Settings, arguments: Sequence[str], say: Say, shops: Mapping[str, Zone | None] | None = None) -> str:
    """Runs dbt, which ends when this process does. What went wrong before any model; empty if nothing.

    Blocks. The live job goes first: dbt is the nicer process.
    """
    settings.dbt_dir.mkdir(parents=True, exist_ok=True)
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    nice = ["nice", "-n", str(KINDER), str(PYTHON), str(EXIT_WITH_PARENT), str(DBT)]
    options = ["--log-format", "json", "--log-format-file", "text", "--log-file-max-bytes", "5000000"]
    options += ["--log-level-file", "info"]  # its debug log costs a third of a small build's time
    with subprocess.Popen(
        [*nice, *options, *arguments],
        env=environment(settings, shops),
        cwd=settings.dbt_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wrong, last = _listen(process.stdout or (), say)
            if not wrong and process.wait() not in DBT_CODES:
                wrong = [f"it ended with code {process.returncode}{f': {last}' if last else ''}"]
            return "; ".join(wrong)
        finally:
            if process.stdin:
                process.stdin.close()


def _listen(lines: Iterator[str] | Sequence[str] | Any, say: Say) -> tuple[list[str], str]:
    """Hands on what is under way, and returns what stopped dbt before it ran anything, and the last line that is not
    in dbt's own format, as of a traceback.
    """
    wrong: list[str] = []
    last = ""
    for line in lines:
        try:
            event = json.loads(line)
            info, data = event["info"], event["data"]
        except (ValueError, KeyError, TypeError):
            last = " ".join(line.split()) or last
            continue
        if info["name"] in ("LogModelResult", "LogTestResult", "LogSnapshotResult", "LogStartLine"):
            say(f"{data.get('index')} of {data.get('total') or data.get('num_models')}: {_node(data)}")
        elif info["name"] in ("MainEncounteredError", "GenericExceptionOnRun") or info["level"] == "error":
            wrong += [" ".join(info["msg"].split())] if info["msg"].strip() else []
    return wrong, last


def _node(data: dict[str, Any]) -> str:
    return str(data.get("node_info", {}).get("node_name", ""))


def _require_environment() -> None:
    if not DBT.exists():
        raise Misconfigured(
            f"dbt's environment is missing: create {DBT.parent.parent} with `python3 bootstrap.py dbt` or `make up`"
        )


@contextmanager
def _alone(settings: Settings) -> Iterator[Connection]:
    """A connection that holds the builds' lock, which the server releases when this process ends."""
    with opened(settings.postgres_dsn) as connection:
        if connection.execute(LOCK).fetchone() != (True,):
            raise DbtBusy(_who(connection))
        yield connection


def _require_postgres(connection: Connection, settings: Settings) -> None:
    """Raises Retryable when Postgres went away since: dbt may have ended in the middle of a sentence."""
    try:
        connection.execute("select 1")
    except psycopg.OperationalError as error:
        raise Retryable(
            f"Postgres at {settings.postgres_address} went down during the build: nothing was built, and the next"
            " build covers everything"
        ) from error


def _who(connection: Connection) -> str:
    row = connection.execute(
        "select to_char(started_at at time zone 'UTC', 'HH24:MI:SS') from ops.dbt_builds where ended_at is null"
        " order by started_at desc limit 1"
    ).fetchone()
    since = f" since {row[0]} UTC" if row else ""
    return f"another build of the marts is running{since}; wait until it ends"


def _begin(connection: Connection, selection: str) -> str:
    """The new build's number. A killed build is marked as failed: the lock is ours, so none is running."""
    connection.execute(
        "update ops.dbt_builds set ended_at = now(), outcome = 'failed', message = %s where ended_at is null",
        ("it was interrupted: killed, or Postgres went down",),
    )
    connection.execute(f"delete from ops.dbt_builds where started_at < now() - interval '{KEPT_DAYS} days'")  # noqa: S608
    row = connection.execute(
        "insert into ops.dbt_builds (invocation, started_at, selection)"
        " values (gen_random_uuid()::text, now(), %s) returning invocation",
        (selection,),
    ).fetchone()
    assert row
    return str(row[0])


def _end(
    connection: Connection, invocation: str, outcome: str, models: int, tests: int, failures: int, message: str
) -> None:
    connection.execute(
        "update ops.dbt_builds set ended_at = now(), outcome = %s, models = %s, tests = %s, failures = %s, message = %s"
        " where invocation = %s",
        (outcome, models, tests, failures, message, invocation),
    )


def record(connection: Connection, invocation: str, built: Built) -> None:
    """Writes down a build and its models, in one transaction."""
    message = "; ".join(f"{failure.name}: {failure.message}" for failure in built.failures)[:2000]
    with connection.transaction():
        counts = (len(built.models), built.tests, len(built.failures))
        _end(connection, invocation, built.outcome, *counts, message)
        connection.execute("delete from ops.dbt_models where relation <> all(%s)", (list(built.known),))
        for m in built.models:
            connection.execute(
                "insert into ops.dbt_models values (%s, %s, %s, now(), %s, %s, %s)"
                " on conflict (relation) do update set kind = excluded.kind, description = excluded.description,"
                " built_at = case when excluded.status in ('ok', 'failed tests') then excluded.built_at"
                " else ops.dbt_models.built_at end,"
                " seconds = excluded.seconds, status = excluded.status, upstream = excluded.upstream",
                (m.relation, m.kind, m.description, m.seconds, m.status, list(m.upstream)),
            )
