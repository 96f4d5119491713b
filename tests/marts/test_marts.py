"""Every mart on random histories: built whole, and brought up to date as events come and as replays restate windows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from aggregates.catalogue import Aggregate, aggregates
from replay.plan import merged
from replay.windows import floored
from schemas.catalogue import event
from tests.marts import sources
from tests.marts.any_shop import any_shop
from tests.marts.building import Place, own_place
from tests.marts.compare import wrong_marts
from tests.marts.oracle.history import History
from tests.marts.sources import Came

pytestmark = pytest.mark.timeout(600)
BUILT_SCHEMAS = ("staging", "intermediate", "marts", "snapshots")
STILL_OPEN = timedelta(hours=24)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with own_place(tmp_path_factory.mktemp("marts")) as found:
        yield found


@pytest.fixture
def place(server: Place) -> Place:
    """Sources without a row, and nothing built."""
    with psycopg.connect(server.dsn) as connection:
        for schema in ("ops", "live", "events", "versions", *BUILT_SCHEMAS):
            connection.execute(f"drop schema if exists {schema} cascade")
        sources.make(connection)
    return server


def has(place: Place, came: Came) -> None:
    with psycopg.connect(place.dsn) as connection:
        sources.fill(connection, came)


def assert_marts_are_right(place: Place, came: Came) -> None:
    with psycopg.connect(place.dsn) as connection:
        problems = wrong_marts(connection, History(came.counts()))
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("seed", range(2))
def test_every_mart_of_any_history_is_what_plain_python_makes_of_the_log(place: Place, seed: int) -> None:
    came = Came(any_shop(seed, size=150))
    has(place, came)
    place.build("--full-refresh")
    assert_marts_are_right(place, came)


@pytest.mark.parametrize("seed", [7, 8])
def test_marts_brought_up_to_date_are_those_built_whole(place: Place, seed: int) -> None:
    """As events come in; as late ones come to count, of windows that were final; and as that is taken back."""
    rng = Random(seed)
    log = any_shop(seed, size=150)
    newest = max(record["occurred_at"] for records in log.values() for record in records)
    line = newest - timedelta(days=15)
    late = {
        name: {n for n, r in enumerate(records) if r["occurred_at"] < line - STILL_OPEN and rng.random() < 0.06}
        for name, records in log.items()
    }
    # Of the last day before the line, half has not come yet: out of order, but in time.
    first = {
        name: [
            record
            for record in records
            if record["occurred_at"] < line - (STILL_OPEN if rng.random() < 0.5 else timedelta(0))
        ]
        for name, records in log.items()
    }
    has(place, Came(first, late))
    place.build("--full-refresh")
    assert_marts_are_right(place, Came(first, late))

    all_came = Came(log, late)
    has(place, all_came)
    place.build()
    assert_marts_are_right(place, all_came)

    restated = Came(log, late, restated=late)
    has(place, restated)
    run = promoted(place, restated)
    place.build()
    assert_marts_are_right(place, restated)

    has(place, all_came)
    rolled_back(place, run)
    place.build()
    assert_marts_are_right(place, all_came)


def promoted(place: Place, came: Came) -> str:
    """Notes a promoted run of late events, as a replay does; the windows are those that the events touch."""
    touched = {a.name: windows(a, came) for a in aggregates()}
    plan = {"aggregates": [{"name": name, "windows": found} for name, found in touched.items() if found]}
    changes = {name: {"rows_added": 1, "rows_removed": 1} for name, found in touched.items() if found}
    with psycopg.connect(place.dsn) as connection:
        (run,) = connection.execute("select 'r' || nextval('ops.replay_number')").fetchone() or ("",)
        connection.execute(
            "insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records,"
            " promoted_at, changes) values (%s, 'promoted', 'late', %s, 'duckdb', %s, '', 'a test', 0, now(), %s)",
            (run, [one["name"] for one in plan["aggregates"]], Jsonb(plan), Jsonb(changes)),
        )
    return str(run)


def windows(a: Aggregate, came: Came) -> list[dict[str, Any]]:
    """As in a plan of late events."""
    moments = [came.log[name][offset][a.time] for name in a.inputs for offset in came.late.get(event(name).name, ())]
    starts = sorted({floored(moment, a.window) for moment in moments})
    return [stretch.model_dump(mode="json") for stretch in merged(starts, a.window)]


def rolled_back(place: Place, run: str) -> None:
    with psycopg.connect(place.dsn) as connection:
        connection.execute(
            "update ops.replays set status = 'rolled back', rolled_back_at = clock_timestamp() where run = %s", (run,)
        )
