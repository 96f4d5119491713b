"""Makes a Metabase match the dashboards' files, and reports the changes. A second run changes nothing.

Our dashboards and cards are found by marks (identity.py), never by name alone. Everything else is left unchanged: other
people's cards and dashboards in our collections, and cards that someone added to one of our dashboards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dashboards.metabase.client import SITE_NAME, Metabase, MetabaseRefused
from dashboards.metabase.identity import COLLECTION_NOTE, key_of
from dashboards.metabase.render import Body, MetabaseCard, MetabaseDashboard, merged
from schemas.errors import InsightsError
from warehouse.roles import METABASE, SHOWN

COLLECTION = "Insights Hub"
CARDS_COLLECTION = "Cards"
PAGE = 200


class DatabaseUnreachable(InsightsError):
    """Metabase can't connect to Postgres at the address that it was given."""

    def __init__(self, database: Database, said: str) -> None:
        super().__init__(
            f"Metabase can't reach Postgres at {database.host}:{database.port} as {METABASE} ({said}). This is to be"
            " its address as Metabase sees it, which in a container is not 127.0.0.1; set"
            " INSIGHTS_METABASE_POSTGRES=host:port"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Postgres, as Metabase reaches it."""

    host: str
    port: int
    dbname: str
    password: str

    def details(self) -> Body:
        """Without the password: what Metabase shows again."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": METABASE,
            "ssl": False,
            "schema-filters-type": "inclusion",
            "schema-filters-patterns": ",".join(SHOWN),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is made, changed or put into the trash. ``fields`` are what differs of one that is changed."""

    action: str
    kind: str
    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        differing = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{self.action} {self.kind} {self.name}{differing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A card or dashboard of ours that is there, perhaps in the trash."""

    number: int
    name: str
    in_trash: bool


@dataclass(slots=True)
class Outcome:
    """The changes, made or planned; notes for people; and each dashboard's id by its file."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dashboards: dict[str, int] = field(default_factory=dict)


def provision(
    metabase: Metabase, dashboards: Sequence[MetabaseDashboard], database: Database, *, write: bool
) -> Outcome:
    """Everything, in the order in which one thing needs the other. Without ``write`` nothing is sent that changes."""
    return _Provisioner(metabase, write).run(dashboards, database)


class _Provisioner:
    def __init__(self, metabase: Metabase, write: bool) -> None:
        self._metabase = metabase
        self._write = write
        self._outcome = Outcome()
        self._imagined = count(-1, -1)  # numbers of what a dry run would make
        self._made: set[int] = set()

    def run(self, dashboards: Sequence[MetabaseDashboard], wanted: Database) -> Outcome:
        database = self._database(wanted)
        collection = self._collection(COLLECTION, None)
        cards_collection = self._collection(CARDS_COLLECTION, collection)
        trash = self._metabase.get("collection/trash")["id"]
        boards = self._ours("dashboard", collection, trash)
        cards = self._ours("card", cards_collection, trash)
        for dashboard in dashboards:
            there = boards.get(dashboard.name)
            self._outcome.dashboards[dashboard.name] = (
                there.number
                if there
                else self._create("dashboard", dashboard.title, dashboard.payload(collection=collection))
            )
        numbers = {
            card.key: self._card(
                card, card.payload(database=database, collection=cards_collection), cards.get(card.key)
            )
            for dashboard in dashboards
            for card in dashboard.all_cards
        }
        ours = frozenset({*numbers.values(), *(found.number for found in cards.values())})
        for dashboard in dashboards:
            self._dashboard(dashboard, collection, numbers, ours)
        self._remove_dashboards({n: f for n, f in boards.items() if n not in self._outcome.dashboards}, ours)
        for key, found in cards.items():
            if key not in numbers and not found.in_trash:
                self._archive("card", found.number, found.name)
        self._note_time_zone()
        return self._outcome

    def _create(self, kind: str, name: str, body: Body) -> int:
        self._outcome.changes.append(Change(action="create", kind=kind, name=name))
        number = int(self._metabase.post(kind, body)["id"]) if self._write else next(self._imagined)
        self._made.add(number)
        return number

    def _update(self, kind: str, number: int, name: str, body: Body, fields: Sequence[str]) -> None:
        """``body`` is sent whole when one of its ``fields`` differs."""
        if fields:
            self._outcome.changes.append(Change(action="update", kind=kind, name=name, fields=tuple(fields)))
            if self._write:
                self._metabase.put(f"{kind}/{number}", body)

    def _archive(self, kind: str, number: int, name: str) -> None:
        self._outcome.changes.append(Change(action="archive", kind=kind, name=name))
        if self._write:
            self._metabase.put(f"{kind}/{number}", {"archived": True})

    # -- the database -------------------------------------------------------------------------------------------------

    def _database(self, wanted: Database) -> int:
        listed = self._metabase.get("database")
        databases = listed["data"] if isinstance(listed, dict) else listed
        there = [d for d in databases if d["name"] == SITE_NAME and d["engine"] == "postgres"]
        if not there:
            return self._create_database(wanted)
        found = min(there, key=lambda d: int(d["id"]))
        number, details = int(found["id"]), found.get("details") or {}
        fields = [f"details.{name}" for name in _differing(details, wanted.details())]
        self._update_database(number, wanted, fields)
        said = self._health(number)
        if said and self._write and not fields:
            # The password is never shown again; that it is another one can only be seen by this.
            self._update_database(number, wanted, ["details.password"])
            said = self._health(number)
        if said:
            raise DatabaseUnreachable(wanted, said)
        if fields and self._write:
            self._metabase.post(f"database/{number}/sync_schema", {})
        return number

    def _update_database(self, number: int, wanted: Database, fields: Sequence[str]) -> None:
        body = {"name": SITE_NAME, "engine": "postgres", "details": wanted.details() | {"password": wanted.password}}
        try:
            self._update("database", number, SITE_NAME, body, fields)
        except MetabaseRefused as refused:
            raise DatabaseUnreachable(wanted, refused.said) from refused

    def _create_database(self, wanted: Database) -> int:
        body = {
            "name": SITE_NAME,
            "engine": "postgres",
            "details": wanted.details() | {"password": wanted.password},
            "auto_run_queries": True,
            "is_full_sync": True,
            "is_on_demand": False,
            "connection_source": "admin",
        }
        try:
            number = self._create("database", SITE_NAME, body)
        except MetabaseRefused as refused:
            raise DatabaseUnreachable(wanted, refused.said) from refused
        if self._write:
            self._metabase.post(f"database/{number}/sync_schema", {})
        return number

    def _health(self, number: int) -> str:
        """What is wrong with the connection; an empty text when it is well."""
        found = self._metabase.get(f"database/{number}/healthcheck")
        return "" if found.get("status") == "ok" else str(found.get("message") or found)

    # -- collections --------------------------------------------------------------------------------------------------

    def _collection(self, name: str, parent: int | None) -> int:
        if parent is None or parent > 0:
            listed = self._metabase.get(
                "collection",
                **{"archived": False, "exclude-other-user-collections": False, "personal-only": False},
            )
            there = [c for c in listed if isinstance(c["id"], int) and _parent(c) == parent and not c.get("archived")]
            marked = [int(c["id"]) for c in there if COLLECTION_NOTE in (c.get("description") or "")]
            # Without the mark, one of this name is still ours: anybody may have changed its description.
            named = [int(c["id"]) for c in there if c["name"] == name]
            if marked or named:
                return min(marked or named)
        body: Body = {"name": name, "description": COLLECTION_NOTE}
        return self._create("collection", name, body | ({"parent_id": parent} if parent else {}))

    def _ours(self, model: str, collection: int, trash: int) -> dict[str, _Found]:
        """Ours of this kind by key, those in the trash included; the eldest when several claim to be one."""
        items = [] if collection < 0 else [(item, False) for item in self._items(collection, model, archived=False)]
        items += [(item, True) for item in self._items(trash, model, archived=True)]
        found: dict[str, _Found] = {}
        for item, in_trash in sorted(items, key=lambda one: int(one[0]["id"])):
            if (key := key_of(item.get("description"))) is None:
                continue
            if key in found and not in_trash:
                self._outcome.notes.append(
                    f"{model} {item['id']} ({item['name']}) is a copy of {found[key].number}; it is unchanged."
                    f" Remove the words 'Written by Insights Hub ({key})' from its description"
                )
            found.setdefault(key, _Found(number=int(item["id"]), name=str(item["name"]), in_trash=in_trash))
        return found

    def _items(self, collection: int, model: str, *, archived: bool) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            page = self._metabase.get(
                f"collection/{collection}/items",
                models=model,
                archived=archived,
                include_can_run_adhoc_query=False,
                show_dashboard_questions=False,
                limit=PAGE,
                offset=len(found),
            )
            found += page["data"]
            if not page["data"] or len(found) >= page["total"]:
                return found

    # -- cards --------------------------------------------------------------------------------------------------------

    def _card(self, card: MetabaseCard, wanted: Body, there: _Found | None) -> int:
        if there is None:
            return self._create("card", card.key, wanted)
        found = self._metabase.get(f"card/{there.number}")
        body = wanted | {"archived": False}
        fields = _differing(found, {name: v for name, v in body.items() if name != "visualization_settings"})
        if _without_nothing(found["visualization_settings"]) != _without_nothing(card.settings):
            fields.append("visualization_settings")
        self._update("card", there.number, card.key, body, fields)
        return there.number

    # -- dashboards ---------------------------------------------------------------------------------------------------

    def _dashboard(
        self, dashboard: MetabaseDashboard, collection: int, numbers: Mapping[str, int], ours: frozenset[int]
    ) -> None:
        number = self._outcome.dashboards[dashboard.name]
        cards = dashboard.dashcards(numbers, self._outcome.dashboards)
        body = dashboard.payload(collection=collection) | {"parameters": dashboard.filters(numbers), "archived": False}
        if number < 0:
            return
        found = self._metabase.get(f"dashboard/{number}")
        dashcards = merged(cards, found["dashcards"], ours)
        fields = _differing(found, body)
        if "parameters" not in fields and _defaults(found["parameters"]) != _defaults(body["parameters"]):
            fields.append("parameters")
        if not _same_cards(found["dashcards"], dashcards):
            fields.append("dashcards")
        sent = body | {"dashcards": dashcards} | ({"tabs": found["tabs"]} if found.get("tabs") else {})
        if number in self._made:
            self._metabase.put(f"dashboard/{number}", sent)
        else:
            self._update("dashboard", number, dashboard.title, sent, fields)

    def _remove_dashboards(self, gone: Mapping[str, _Found], ours: frozenset[int]) -> None:
        """Those whose file is gone, unless somebody put something of their own on them."""
        for name, found in gone.items():
            if found.in_trash:
                continue
            dashcards = self._metabase.get(f"dashboard/{found.number}")["dashcards"]
            if all(card["card_id"] in ours for card in dashcards):
                self._archive("dashboard", found.number, found.name)
            else:
                self._outcome.notes.append(
                    f"dashboard {found.number} ({found.name}) no longer has a file {name}.yaml; it is kept, because"
                    " it has other people's cards"
                )

    def _note_time_zone(self) -> None:
        zone = self._metabase.properties.get("report-timezone-long")
        if not self._metabase.is_new and zone and zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
            self._outcome.notes.append(
                f"this Metabase shows times in {zone}, the page in UTC; change it under Admin settings >"
                " Localization > Report timezone"
            )


def _parent(collection: Mapping[str, Any]) -> int | None:
    """The number of the collection that it is in, by its ``location`` (``/3/7/``)."""
    path = [part for part in str(collection.get("location") or "/").split("/") if part]
    return int(path[-1]) if path else None


def covers(found: Any, wanted: Any) -> bool:
    """Whether ``found`` has everything in ``wanted``; Metabase adds its own fields."""
    if isinstance(wanted, Mapping):
        found = found if isinstance(found, Mapping) else {}
        return all(covers(found.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(covers, found, wanted))
    return bool(found == wanted)


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [name for name, value in wanted.items() if not covers(found.get(name), value)]


def _without_nothing(settings: Any) -> Any:
    """Settings without those that are null or empty, which Metabase may leave out."""
    if isinstance(settings, Mapping):
        kept = {name: _without_nothing(value) for name, value in settings.items()}
        return {name: value for name, value in kept.items() if value is not None and value != {}}
    return settings


def _defaults(filters: Sequence[Mapping[str, Any]]) -> list[tuple[Any, bool]]:
    """What each filter begins with, and whether it must have a value: one that is without must not keep an old one."""
    return [(one.get("default"), bool(one.get("required"))) for one in filters]


def _same_cards(found: Sequence[Mapping[str, Any]], wanted: Sequence[Body]) -> bool:
    """Whether the dashcards there are these, in whatever order; a link that one has lost is a difference, too."""
    by_number = {one["id"]: one for one in found}
    return len(found) == len(wanted) and all(_same_card(by_number.get(one["id"]), one) for one in wanted)


def _same_card(found: Mapping[str, Any] | None, wanted: Body) -> bool:
    looks = "visualization_settings"
    return (
        found is not None
        and covers(found, wanted)
        and _without_nothing(found.get(looks)) == _without_nothing(wanted.get(looks))
    )
