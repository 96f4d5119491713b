"""The project as dbt builds it for Athena, run on Trino over the published tables, gives the marts that Postgres has.

dbt's own adapter for Athena speaks to AWS as moto plays it, and to a stand-in of Athena's API whose queries Trino runs
(tests/marts/athena.py): so its materializations, the DDL, Glue and S3 take part, and not the compiled SQL alone.
docs/marts.md says what is left for AWS to show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import pytest

from aggregates.catalogue import aggregates
from aggregates.windows import floored
from replay.plan_file import Stretch
from replay.planning import merged
from schemas.catalogue import event
from tests.marts import sources
from tests.marts.any_shop import any_shop
from tests.marts.athena import without_comments
from tests.marts.own_prod import Prod, own_prod
from tests.marts.process import Dbt
from tests.marts.promotions import promoted
from tests.marts.same import difference, marts_of
from tests.marts.sources import Came

pytestmark = [pytest.mark.timeout(1200), pytest.mark.engine]
ORDERS = '"awsdatacatalog"."intermediate"."int_orders"'
LOG = any_shop(11, size=50)
NEWEST = max(record["occurred_at"] for records in LOG.values() for record in records)
LINE = NEWEST - timedelta(days=12)
LATE = {
    name: {n for n, r in enumerate(records) if n % 13 == 5 and r["occurred_at"] < LINE - timedelta(days=2)}
    for name, records in LOG.items()
}
LETTERS = """
insert into ops.dead_letters values
    (0, 1, '2026-02-28 23:59:59.999+00', 'sales.order_placed.v1', 'ContractBroken', 'l''été "ü" 🚲', 0, 7),
    (0, 2, '2026-03-01 00:00:00+00', '', 'DecodingFailed', '', null, null),
    (0, 3, '2026-03-01 12:00:00+00', 'sales.order_placed.v1', 'ContractBroken', '', 1, 8)
on conflict do nothing;
insert into ops.log_counts values
    ('sales.order_placed.v1', 10, 5, 2, 1, 2, '2026-03-02 10:00:00+00'),
    ('web.interaction.v1', 0, 0, 0, 0, 0, '2026-03-02 10:00:00.123456+00')
on conflict do nothing;
"""


@dataclass(frozen=True, slots=True)
class Both:
    """One history of a shop, and the two targets that are built from it."""

    dsn: str
    dbt: Dbt
    prod: Prod

    def has(self, came: Came) -> None:
        with psycopg.connect(self.dsn) as connection:
            sources.fill(connection, came)
            connection.execute(LETTERS)

    def wrong_marts(self) -> list[str]:
        """How each mart that differs does."""
        found = (difference(self.dsn, self.prod, *mart) for mart in marts_of(self.dsn).items())
        return [text for text in found if text]


@pytest.fixture(scope="module")
def both(server: str, dbt: Dbt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with own_prod(tmp_path_factory.mktemp("prod") / "aws") as prod:
        yield Both(dsn=server, dbt=dbt, prod=prod)


@pytest.fixture(scope="module")
def built(both: Both) -> Both:
    """Both targets built whole, from what had come until some days before the end."""
    earlier = {name: [r for r in records if r["occurred_at"] < LINE] for name, records in LOG.items()}
    both.has(Came(earlier, LATE))
    promoted(both.dsn, "r0", {a.name: [Stretch(since=None, until=LINE)] for a in aggregates()[:5]})
    both.dbt.run("insights", "run")
    both.prod.publish(both.dsn)
    both.prod.dbt("run")
    return both


def test_of_commits_to_one_table_at_once_none_is_lost(both: Both) -> None:
    """As models that are built side by side write down that they were."""
    both.prod.rows("create schema if not exists side_by_side with (location = 's3://lake/side_by_side')")
    both.prod.rows("create table side_by_side.builds (model integer)")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: both.prod.rows(f"insert into side_by_side.builds values {n}"), range(12)))
    assert both.prod.rows("select count(distinct model) from side_by_side.builds") == [[12]]


def test_every_mart_built_for_athena_is_the_one_in_postgres(built: Both) -> None:
    with psycopg.connect(built.dsn) as connection:
        rows = {
            mart: connection.execute(f"select count(*) from marts.{mart}").fetchone() for mart in marts_of(built.dsn)
        }
    assert len(rows) >= 23
    assert not [mart for mart, count in rows.items() if count == (0,)], "an empty mart proves nothing"
    wrong = built.wrong_marts()
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.nightly
def test_the_projects_own_tests_pass_on_athena(built: Both) -> None:
    built.prod.dbt("test")


@pytest.mark.nightly
def test_marts_on_athena_are_brought_up_to_date_by_day_when_events_come_and_a_replay_restates(built: Both) -> None:
    restated = Came(LOG, LATE, restated=LATE)
    built.has(restated)
    promoted(built.dsn, "r1", {a.name: touched(a.name, restated) for a in aggregates()})
    built.dbt.run("insights", "build", "--exclude", "test_type:unit")
    built.prod.publish(built.dsn)
    built.prod.asked.log.clear()
    built.prod.dbt("run")
    wrong = built.wrong_marts()
    assert not wrong, "\n\n".join(wrong)
    asked = [without_comments(text) for text in built.prod.asked.log]
    assert not any(text.startswith(f"create table {ORDERS}") for text in asked), "it was built whole"
    (deleted,) = [text for text in asked if text.startswith(f"delete from {ORDERS}")]
    assert len(re.findall(r"order_day >=", deleted)) > 1, "not one stretch to the end: the days that were restated"


def touched(name: str, came: Came) -> list[Stretch]:
    """Windows of an aggregate that the late events are in."""
    (a,) = [a for a in aggregates() if a.name == name]
    moments: list[datetime] = [came.log[event(i).name][n][a.time] for i in a.inputs for n in came.late.get(i, ())]
    return list(merged(sorted({floored(moment, a.window) for moment in moments}), a.window))
