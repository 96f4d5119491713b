"""A shop with all its marts in a Postgres by itself: made events, made runs with certificates, and dbt's real build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from insights import dbt_run
from insights.settings import Settings
from producers.connect.zones import note_said
from replay.run_history import Run
from tests.marts import sources
from tests.marts.any_shop import BEGINNING, BUSY, ONE_DAY, Log, any_shop
from tests.marts.oracle.exact import OF_SHOPS
from tests.marts.oracle.history import History
from tests.marts.process import make_tables
from tests.marts.sources import Came
from tests.replay.own_postgres import own_postgres
from tests.web import made_runs


@dataclass(frozen=True, slots=True)
class Shop:
    """``history`` is what the oracle of the marts computes from; ``runs`` are the replays by what became of them."""

    dsn: str
    postgres: psycopg.Connection[tuple[Any, ...]]
    history: History
    runs: dict[str, Run]


@contextmanager
def marts_shop(
    home: Path, *, seed: int = 11, size: int = 400, days: int | None = None, trouble: str = ""
) -> Iterator[Shop]:
    """From here until it is left. ``trouble`` is SQL that writes what a shop that only trades does not have; of some
    ``days`` alone it has the busiest.
    """
    log = any_shop(seed, size=size)
    came = Came(log if days is None else _busiest(log, days))
    with own_postgres(home / "postgres") as dsn, psycopg.connect(dsn, autocommit=True) as postgres:
        make_tables(dsn)
        sources.fill(postgres, came)
        postgres.execute(trouble.encode())
        settings = Settings(home=home / "dbt", postgres_port=int(str(conninfo_to_dict(dsn)["port"])))
        for shop, zone in OF_SHOPS.items():
            note_said(settings.producers_dir, shop, zone.key)
        built = dbt_run.build(settings, None, full_refresh=True, say=lambda _: None)
        assert built.outcome == "ok", built.failures
        yield Shop(dsn, postgres, History(came.counts()), made_runs.fill(postgres))


def _busiest(log: Log, days: int) -> Log:
    """Up to two of them follow each other."""
    begins = datetime.combine(BEGINNING, time(), UTC) + BUSY[2] * ONE_DAY
    return {
        name: [record for record in records if begins <= record["occurred_at"] < begins + days * ONE_DAY]
        for name, records in log.items()
    }
