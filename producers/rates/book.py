"""The rates that are on the log, by day and currency; and from which day on somebody wants them.

One SQLite file, written by the source of rates only after Kafka has them: what is in it is on the log. Who needs rates
writes a file of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from producers import state
from producers.rates.ecb import Rate

FILE: Final = "exchange-rates.sqlite"
WANTED_FILE: Final = "exchange-rates-wanted.sqlite"
SCHEMA: Final = """
create table if not exists rates (
    day text, currency text, rate text not null, primary key (day, currency)) without rowid;
create table if not exists known (one integer primary key check (one = 1), since text not null, until text not null);
"""
WANTED: Final = "create table if not exists wanted (one integer primary key check (one = 1), since text not null)"


class Known(NamedTuple):
    """All that was published of these days is in the book, the first and the last of them included."""

    since: date
    until: date


def begin(folder: Path) -> None:
    """From now on somebody brings rates."""
    with closing(state.opened(folder / FILE)) as database:
        database.executescript(SCHEMA)


def is_begun(folder: Path) -> bool:
    """Whether somebody ever brought rates."""
    return (folder / FILE).exists()


def add(folder: Path, rates: Iterable[Rate], known: Known) -> None:
    """These are on the log, and with them all of those days."""
    begin(folder)
    with closing(state.opened(folder / FILE)) as database:
        database.execute("begin immediate")
        rows = ((rate.day.isoformat(), rate.currency, str(rate.rate)) for rate in rates)
        database.executemany("insert or replace into rates values (?, ?, ?)", rows)
        days = (known.since.isoformat(), known.until.isoformat())
        database.execute("insert or replace into known values (1, ?, ?)", days)
        database.execute("commit")


def known(folder: Path) -> Known | None:
    """Of which days all is known; None before any."""
    database = state.to_read(folder / FILE, "known")
    if database is None:
        return None
    with closing(database):
        return _known(database)


def rates_of(folder: Path, since: date, before: date, currencies: Iterable[str]) -> tuple[Known | None, list[Rate]]:
    """Of which days all is known, and the rates of these currencies from ``since`` to the day before ``before``."""
    database = state.to_read(folder / FILE, "known")
    if database is None:
        return None, []
    with closing(database):
        wanted = set(currencies)
        rows = database.execute(
            "select day, currency, rate from rates where day >= ? and day < ?", (since.isoformat(), before.isoformat())
        )
        found = [Rate(date.fromisoformat(day), code, Decimal(rate)) for day, code, rate in rows if code in wanted]
        return _known(database), found


def _known(database: sqlite3.Connection) -> Known | None:
    row = database.execute("select since, until from known").fetchone()
    return Known(date.fromisoformat(row[0]), date.fromisoformat(row[1])) if row else None


def want(folder: Path, since: date) -> None:
    """Ask for the rates from this day on; they are kept up to date from then on."""
    before = wanted(folder)
    if before is not None and before <= since:
        return
    with closing(state.opened(folder / WANTED_FILE)) as database:
        database.execute(WANTED)
        database.execute(
            "insert into wanted values (1, ?) on conflict (one) do update set since = min(since, excluded.since)",
            (since.isoformat(),),
        )


def wanted(folder: Path) -> date | None:
    """From which day on rates are wanted; None when nobody wants any."""
    found = state.rows(folder / WANTED_FILE, "wanted", "select since from wanted")
    return date.fromisoformat(found[0][0]) if found else None
