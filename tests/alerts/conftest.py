from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.alerts.receivers import Inbox, MailServer, mail_server, web_server
from warehouse.migrate import migrate


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    """A database of the test's own, with the state tables."""
    dsn = new_database()
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
