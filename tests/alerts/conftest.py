from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from tests.alerts.receivers import Inbox, MailServer, mail_server, web_server
from tests.replay.own_postgres import own_postgres

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_postgres(tmp_path_factory.mktemp("postgres") / "home") as dsn:
        yield dsn


@pytest.fixture
def dsn(server_dsn: str) -> Iterator[str]:
    """A database of the test's own."""
    name = f"alerts_{next(NUMBERS)}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        yield server_dsn.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with web_server() as inbox:
        yield inbox


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server
