from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.alerts.receivers import Inbox, MailServer, mail_server, web_server
from tests.replay.own_postgres import own_postgres
from warehouse.migrate import migrate

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_postgres(tmp_path_factory.mktemp("postgres") / "home") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def make_database(server_dsn: str) -> Callable[[], str]:
    """The DSN of a new database, empty."""

    def make() -> str:
        name = f"alerts_{next(NUMBERS)}"
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        return server_dsn.rsplit("/", 1)[0] + f"/{name}"

    return make


@pytest.fixture
def dsn(make_database: Callable[[], str]) -> str:
    """A database of the test's own, with the state tables."""
    dsn = make_database()
    with psycopg.connect(dsn) as connection:
        migrate(connection)
    return dsn


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as inbox:
        yield inbox


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server
