"""Marts that are built by day: what incremental builds leave is what one build of everything would."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.marts.made_shop import DAY, FIRST_DAY, Shop, opened
from tests.marts.process import Dbt, copied, dbt_on, make_tables, relations
from tests.replay.own_postgres import own_postgres

NOTHING = "NOTHING TO DO"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_postgres(tmp_path_factory.mktemp("marts") / "postgres") as dsn:
        make_tables(dsn)
        yield dsn


@pytest.fixture(scope="module")
def dbt(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    with dbt_on(server, tmp_path_factory.mktemp("dbt")) as found:
        yield found


@pytest.fixture(scope="module")
def built(server: str, dbt: Dbt) -> str:
    """The database ``begun``: a shop of ten days, eight of them final, and all marts built from it."""
    dsn = copied(server, "insights", "begun")
    opened(dsn, seed=7).final_until(FIRST_DAY + 8 * DAY)
    dbt.run("begun", "run")
    return dsn


@pytest.fixture
def shop(server: str, built: str, request: pytest.FixtureRequest) -> Shop:
    """A shop of its own for a test, a copy of ``begun``: its database is called ``shop``."""
    return Shop(dsn=copied(server, "begun", "shop"), rng=random.Random(request.node.name), number=100_000)


def assert_as_if_built_whole(shop: Shop, dbt: Dbt, step: str = "") -> None:
    """What is there is what a full refresh makes of the same sources."""
    whole = copied(shop.dsn, "shop", "whole")
    dbt.run("whole", "run", "--full-refresh")
    found, wanted = relations(shop.dsn), relations(whole)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == [], step
    assert found["marts.daily_sales"]


def touched(dbt: Dbt) -> set[str]:
    """The models that the last run did not leave as they were."""
    return {name for name, result in dbt.results.items() if result["message"] != NOTHING}


@pytest.mark.parametrize("seed", [1, 2])
def test_builds_after_random_changes_are_as_one_of_everything(shop: Shop, dbt: Dbt, seed: int) -> None:
    rng = shop.rng = random.Random(seed)
    final = FIRST_DAY + 8 * DAY
    runs: list[str] = []
    for number in range(3):
        steps = []
        for change in rng.sample(["trade", "restate", "lose", "roll back", "final"], k=2):
            first = FIRST_DAY + rng.randrange(9) * DAY
            last = min(first + rng.randrange(1, 3) * DAY, final)
            steps.append(f"{change} {first:%m-%d} {last:%m-%d}")
            if change == "trade":
                shop.trade(final, FIRST_DAY + (10 + number) * DAY, visits=15)
            elif change in ("restate", "lose") and first < last:
                shop.lose(first, last)
                if change == "restate":
                    shop.trade(first, last - timedelta(hours=9), visits=8)
                # A session may have begun the day before; what follows from it comes up to two days later.
                runs.append(shop.note_replay(first - DAY, last + 2 * DAY))
            elif change == "roll back" and runs:
                run = runs.pop()
                shop.trade(FIRST_DAY, FIRST_DAY + DAY / 2, visits=3)
                shop.note_replay(FIRST_DAY, FIRST_DAY + 3 * DAY)
                shop.note_rollback(run)
            elif change == "final":
                final = final + DAY
                shop.final_until(final)
        dbt.run("shop", "run")
        assert_as_if_built_whole(shop, dbt, f"seed {seed}, step {number}: {steps}")
