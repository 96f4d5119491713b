"""The time zone of each shop's own days: what the shop says, unless a person chose another.

Kept beside the connections, and for longer: what was counted of a shop that is removed keeps its days.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from producers import state
from producers.connect.connections import FILE, addresses

SCHEMA: Final = """
create table if not exists zones (name text primary key, said text not null default '', chosen text) without rowid;
create table if not exists chosen_for (name text primary key, url text not null) without rowid;
"""
SAID: Final = "insert into zones (name, said) values (?, ?) on conflict (name) do update set said = excluded.said"
FORGOTTEN: Final = """
update zones set chosen = null
where name = :name and exists (select 1 from chosen_for as f where f.name = :name and f.url <> :url)
"""
CHOSEN: Final = (
    "insert into zones (name, chosen) values (?, ?) on conflict (name) do update set chosen = excluded.chosen"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopZone:
    """What a shop said last of its zone, empty if it named none; and what a person chose instead, if anything."""

    said: str = ""
    chosen: str | None = None

    @property
    def name(self) -> str:
        """The zone of its days; empty where none is known."""
        return self.chosen or self.said


def zones(folder: Path) -> dict[str, ShopZone]:
    """By name, every shop of which something is known, removed ones too."""
    rows = state.rows(folder / FILE, "zones", "select name, said, chosen from zones order by name")
    return {name: ShopZone(said=said, chosen=chosen) for name, said, chosen in rows}


def note_said(folder: Path, shop: str, zone: str) -> None:
    """The shop says that its days are of this zone; empty: of none that has a name.

    What a person chose stays, unless that was for a shop at another address which had the name before.
    """
    with _opened(folder) as database:
        if url := addresses(folder).get(shop):
            database.execute(FORGOTTEN, {"name": shop, "url": url})
        database.execute(SAID, (shop, zone))


def choose(folder: Path, shop: str, zone: str | None) -> None:
    """From now on the shop's days are of this zone, whatever it says; None: of the one that it says."""
    with _opened(folder) as database:
        database.execute(CHOSEN, (shop, zone))
        if url := addresses(folder).get(shop):
            database.execute("insert or replace into chosen_for values (?, ?)", (shop, url))


@contextmanager
def _opened(folder: Path) -> Iterator[Connection]:
    with closing(state.opened(state.only_for_its_owner(folder / FILE))) as database:
        database.executescript(SCHEMA)
        yield database
