"""A data folder of the release before, brought up by this one: every number stays, and what is new is counted.

The folder is made by that release itself, in a worktree with environments of its own. So the whole history must be
there (`git fetch --unshallow`), and an hour of the shop's past is counted twice: a matter of the night.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import aggregates
from flink import live_job
from insights.settings import Settings
from insights.wiring import deployment
from schemas.catalogue import event
from tests.conftest import environment_of, own_settings, wait_until
from tests.e2e.hub import PATIENCE_SECONDS, Hub, Shop, assert_exact, connect, open_hub
from tests.e2e.made_events import made, now
from tests.last_release import GIT, LAST_RELEASE, check_there

OF_THE_SHOP: dict[str, Any] = {"seed": 7, "rate": 2.0, "history": "5h"}
NUMBERS = ("numeric", "bigint", "integer", "double precision")
Sums = dict[str, tuple[str, ...]]
pytestmark = [pytest.mark.nightly, pytest.mark.stack, pytest.mark.timeout(2400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderRelease:
    """A worktree of it, with its environments."""

    folder: Path
    settings: Settings

    def run(self, *command: str) -> str:
        done = subprocess.run(
            list(command),
            cwd=self.folder,
            env={**os.environ, **environment_of(self.settings), "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, (
            f"{' '.join(command)} of the release before: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout

    def insights(self, *arguments: str) -> str:
        return self.run(str(self.folder / ".venv" / "bin" / "python"), "-m", "insights", *arguments)


def checked_out(folder: Path) -> Iterator[Path]:
    check_there()
    subprocess.run([*GIT, "worktree", "add", "--detach", str(folder), LAST_RELEASE], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run([*GIT, "worktree", "remove", "--force", str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[OlderRelease]:
    base = tmp_path_factory.mktemp("upgrade")
    settings = own_settings(base / "home", checkpoint_interval_seconds=2, idle_timeout_seconds=20, horizon_hours=2)
    # Not in pytest's own folder, which is closed to all others: as root, Postgres is run by another user.
    place = Path(tempfile.mkdtemp(prefix="insights-release-"))
    place.chmod(0o755)
    for folder in checked_out(place / "release"):
        found = OlderRelease(folder=folder, settings=settings)
        found.run(sys.executable, "bootstrap.py", "main", "flink")
        yield found
    place.rmdir()


def sums(settings: Settings) -> Sums:
    """Rows of every view that people read, and the sum of each of its numbers that the older release has too."""
    found: Sums = {}
    with connect(settings) as connection:
        views = connection.execute(
            "select table_schema || '.' || table_name, array_agg(column_name::text order by column_name)"
            "   filter (where data_type = any(%s) and column_name not like 'charged%%')"
            " from information_schema.columns where table_schema in ('events', 'live')"
            " and table_name <> 'exchange_rates' group by 1",
            [list(NUMBERS)],
        ).fetchall()
        for view, numbers in views:
            summed = ", ".join(["count(*)", *(f"sum({name})" for name in numbers or ())])
            row = connection.execute(f"select {summed} from {view}".encode()).fetchone()
            found[view] = tuple(map(str, row or ()))
    return found


def counted(settings: Settings) -> dict[str, tuple[int, int]]:
    """By topic: records on the log, and those with a fate, as the release itself reconciles them."""
    with connect(settings) as connection:
        rows = connection.execute("select topic, published, counted + duplicate + late + dead from ops.log_counts")
        return {topic: (published, fates) for topic, published, fates in rows}


def seen(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(connection.execute("select aggregate, version from ops.versions where since is not null").fetchall())


@pytest.fixture(scope="module")
def before(older: OlderRelease) -> Sums:
    """What the older release counted, which is stopped by now."""
    settings = older.settings
    python = older.folder / ".venv" / "bin" / "python"
    try:
        older.insights("up", "--no-producers")
        shop = Shop(settings, settings.home.parent / "shop", python=str(python), project=older.folder, **OF_THE_SHOP)
        shop.start()
        wait_until(lambda: shop.is_live, seconds=PATIENCE_SECONDS, what=f"the past is published: {shop.said[-500:]}")
        shop.stop()
        published = partial(counted, settings)
        wait_until(
            lambda: any(n for n, _ in published().values()) and all(n == fates for n, fates in published().values()),
            seconds=PATIENCE_SECONDS,
            what="the older release has counted all",
        )
        found = sums(settings)
    finally:
        older.insights("down")
    return found


@pytest.fixture(scope="module")
def hub(older: OlderRelease, before: Sums) -> Iterator[Hub]:
    """This release over that folder."""
    with ExitStack() as resources:
        found = open_hub(older.settings, older.settings.home.parent, resources, **OF_THE_SHOP)
        yield found


def test_after_the_start_every_number_is_as_it_was(hub: Hub, before: Sums) -> None:
    assert before["events.orders"][0] > "0"
    after = sums(hub.settings)
    assert {table: after[table] for table in before} == before
    assert {table: found for table, found in after.items() if table not in before} == {"events.cancellations": ("0",)}
    assert "/savepoints/" in hub.restored_from(), "and the job goes on from its savepoint"


def test_the_new_events_are_counted_by_a_job_of_their_own(hub: Hub) -> None:
    rate = made(event("finance.rate_published"), now())
    hub.publish(event("finance.rate_published"), rate, "counted")
    hub.flush()
    names = [job.name for job in live_job.kept_jobs(deployment(hub.settings))]
    assert "insights-live-rate_published" in names

    def there() -> bool:
        with connect(hub.settings) as connection:
            query = "select count(*) from events.exchange_rates where event_id = %s"
            return connection.execute(query, (rate["event_id"],)).fetchone() == (1,)

    hub.until(there, "the rate is in its fact")


def test_columns_that_facts_gained_are_brought_by_itself_with_no_number_changed(hub: Hub, before: Sums) -> None:
    charged = {"charged_currency": "USD", "charged_total_amount": Decimal("43.210"), "charged_rate": Decimal("1.0803")}
    order = {**made(event("sales.order_placed"), now()), **charged, "charged_rate_source": "shop"}
    hub.publish(event("sales.order_placed"), order, "counted")
    hub.flush()
    wanted = {a.name: a.version for a in aggregates()}

    def brought() -> bool:
        with connect(hub.settings) as connection:
            return seen(connection) == wanted

    hub.until(brought, "readers see this release's version of everything")

    def shown() -> bool:
        query = "select charged_currency, charged_total_amount from events.orders where order_id = %s"
        with connect(hub.settings) as connection:
            return connection.execute(query, (order["order_id"],)).fetchone() == ("USD", Decimal("43.210"))

    hub.until(shown, "the order that came before the hand-over has its charge")
    with connect(hub.settings) as connection:
        (others,) = connection.execute(
            "select count(*) from events.orders where charged_currency is null"
        ).fetchone() or (0,)
    assert str(others) == before["events.orders"][0], "nothing was charged in the orders before"


def test_the_shop_goes_on_and_every_cell_of_old_and_new_is_right(hub: Hub) -> None:
    hub.shop.start()
    has = hub.published()
    hub.until(lambda: hub.published() > has + 20, "the shop has sold more")
    hub.shop.stop()
    assert_exact(hub)


def test_what_the_older_version_wrote_is_gone(hub: Hub) -> None:
    def gone() -> bool:
        with connect(hub.settings) as connection:
            return connection.execute("select to_regclass('versions.orders_v1')").fetchone() == (None,)

    hub.until(gone, "the version before is no longer written, and its table is dropped")
    assert_exact(hub)
