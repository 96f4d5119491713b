from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.marts.process import Dbt, dbt_on, make_tables
from tests.replay.own_postgres import own_postgres


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a Postgres of the module's own, with every table that the stack makes, empty."""
    with own_postgres(tmp_path_factory.mktemp("marts") / "postgres") as dsn:
        make_tables(dsn)
        yield dsn


@pytest.fixture(scope="module")
def dbt(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    """A dbt for that server."""
    with dbt_on(server, tmp_path_factory.mktemp("dbt")) as found:
        yield found
