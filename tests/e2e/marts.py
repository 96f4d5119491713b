"""The marts of a real stack: brought up to date, and compared with the lake's raw log."""

from __future__ import annotations

from collections.abc import Collection

import psycopg

from insights import dbt_run
from insights.settings import Settings
from insights.wiring import deployment
from reconciliation.recorder import ReconciliationRecorder
from tests.conftest import wait_until
from tests.marts import lake
from tests.marts.compare import wrong_marts, wrong_quality_marts
from tests.marts.oracle.history import Row
from tests.marts.oracle.marts import MARTS, QUALITY_MARTS


def bring_up_to_date(settings: Settings) -> None:
    """An incremental build, after the stack's own if one is going on. Fails with what dbt's tests found."""

    def built() -> bool:
        try:
            found = dbt_run.build(settings, None, full_refresh=False, say=lambda line: None)
        except dbt_run.DbtBusy:
            return False
        assert found.outcome == "ok", found.failures
        return True

    ReconciliationRecorder(deployment(settings)).step()
    wait_until(built, seconds=300, what="the marts are built, after a build of the stack's own if there is one")


def assert_as_the_log_says(
    settings: Settings, names: Collection[str] = tuple(MARTS), quality: Collection[str] = tuple(QUALITY_MARTS)
) -> dict[str, list[Row]]:
    """Compares these marts, of a stack at rest, row by row. Returns what they hold."""
    with psycopg.connect(settings.postgres_dsn) as connection:
        # The ops tables go on changing: everything is read in one snapshot.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        recorded = lake.recorded(settings, connection)
        history = lake.history(recorded)
        problems = [*wrong_marts(connection, history, names), *wrong_quality_marts(connection, recorded, quality)]
    assert not problems, "\n\n".join(problems)
    return {name: MARTS[name].rows(history) for name in names}
