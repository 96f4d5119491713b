"""A server that stands in for Metabase: it checks every request against api.yaml, and stores what it is sent.

What it does besides is what Metabase's documentation says of these calls: it connects to the Postgres that it is given,
runs cards there as ``as_metabase`` does, adds fields of its own to what it keeps, and refuses what Metabase refuses.

Longer than 400 lines, because Metabase's objects refer to each other, so one server keeps them all.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
import yaml
from jsonschema import Draft202012Validator
from psycopg.rows import dict_row

from tests.metabase.as_metabase import MissingValue, run

API = yaml.load((Path(__file__).parent / "api.yaml").read_text(), Loader=yaml.CSafeLoader)
API_KEY = "mb_the_key_of_an_administrator"
TYPES = {"boolean": ("true", "false")}


class Refusal(Exception):
    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"{status} {answer}")
        self.status = status
        self.answer = answer


def check_body(name: str, body: Any) -> None:
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": API["components"]})
    errors = {".".join(map(str, e.absolute_path)) or "body": e.message for e in validator.iter_errors(body)}
    if errors:
        raise Refusal(400, {"errors": errors, "specific-errors": errors})


def entity_id() -> str:
    return secrets.token_urlsafe(20)[:21]


@dataclass
class StandIn:
    """Its state, which tests look at and change as people would."""

    version: str = "v0.58.2"
    zone: str = "Europe/Vienna"
    url: str = ""
    starting: bool = False
    changes_left: int | None = None
    users: dict[str, str] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    databases: dict[int, dict[str, Any]] = field(default_factory=dict)
    collections: dict[int, dict[str, Any]] = field(default_factory=dict)
    cards: dict[int, dict[str, Any]] = field(default_factory=dict)
    dashboards: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(2))
    trash: int = 1
    setup_token: str = field(default_factory=entity_id)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Requests that change something, the logins left out."""
        return [(m, p) for m, p in self.asked if m != "GET" and not re.match(r"/(session|setup)", p)]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: Mapping[str, str]) -> Any:
        self.asked.append((method, path))
        if self.starting or self.changes_left == 0:
            raise Refusal(503, "Metabase is still starting")
        if self.changes_left and method in ("POST", "PUT"):
            self.changes_left -= 1
        template, parts = self._route(path)
        operation = API["paths"][template].get(method.lower())
        if operation is None:
            raise Refusal(405, "Method not allowed")
        for name, kind in operation.get("query", {}).items():
            if name in query and query[name] not in TYPES.get(kind or "", (query[name],)):
                raise Refusal(400, {"errors": {name: f"value must be a {kind}"}})
        if unknown := query.keys() - operation.get("query", {}).keys():
            raise Refusal(400, {"errors": dict.fromkeys(unknown, "is not a parameter of this call")})
        if "body" in operation:
            check_body(operation["body"], body)
        if template not in ("/session/properties", "/setup", "/session") and not self._knows(headers):
            raise Refusal(401, "Unauthenticated")
        name = template.strip("/").replace("/{id}", "_of").replace("/{key}", "").replace("/", "_")
        return getattr(self, f"_{method.lower()}_{name}")(*parts, **{"query": query, "body": body, "headers": headers})

    def _route(self, path: str) -> tuple[str, list[str]]:
        for template in API["paths"]:
            if found := re.fullmatch(re.sub(r"\{\w+\}", "([^/]+)", template), path):
                return template, list(found.groups())
        raise Refusal(404, "API endpoint does not exist.")

    def _knows(self, headers: Mapping[str, str]) -> bool:
        return headers.get("x-api-key") == API_KEY or headers.get("x-metabase-session") in self.sessions

    # -- who asks -----------------------------------------------------------------------------------------------------

    def _get_session_properties(self, **_: Any) -> Any:
        is_new = not self.users
        return {
            "version": {"tag": self.version},
            "has-user-setup": not is_new,
            "setup-token": self.setup_token,
            "report-timezone-long": self.zone,
        }

    def _session(self) -> dict[str, str]:
        self.sessions.add(session := entity_id())
        return {"id": session}

    def _post_setup(self, body: Any, **_: Any) -> Any:
        if self.users:
            raise Refusal(403, "The /api/setup route can only be used to create the first user")
        if body["token"] != self.setup_token:
            raise Refusal(400, {"errors": {"token": "Token does not match the setup token."}})
        if len(body["user"]["password"]) < 8:
            raise Refusal(400, {"errors": {"password": "password is too common."}})
        self.users[body["user"]["email"]] = body["user"]["password"]
        return self._session()

    def _post_session(self, body: Any, **_: Any) -> Any:
        if self.users.get(body["username"]) != body["password"]:
            raise Refusal(401, {"errors": {"password": "did not match stored password"}})
        return self._session()

    def _delete_session(self, headers: Mapping[str, str], **_: Any) -> None:
        self.sessions.discard(headers.get("x-metabase-session", ""))

    def _get_user_current(self, **_: Any) -> Any:
        return {"id": 1, "is_superuser": True}

    def _put_setting(self, key: str, body: Any, **_: Any) -> None:
        assert key == "report-timezone"
        self.zone = body["value"]

    # -- databases ----------------------------------------------------------------------------------------------------

    def _get_database(self, **_: Any) -> Any:
        found = [self._shown(d) for d in self.databases.values()]
        return {"data": found, "total": len(found)}

    def _get_database_of(self, number: str, **_: Any) -> Any:
        return self._shown(self._there(self.databases, number))

    def _shown(self, database: Mapping[str, Any]) -> dict[str, Any]:
        return {**database, "details": {**database["details"], "password": "**MetabasePass**"}}

    def _post_database(self, body: Any, **_: Any) -> Any:
        if said := self._connection_problem(body["details"]):
            raise Refusal(400, {"message": said, "errors": {"host": "check your host settings"}})
        made = {**body, "id": next(self.numbers), "features": ["basic-aggregations"], "is_sample": False}
        self.databases[made["id"]] = made
        return self._shown(made)

    def _put_database_of(self, number: str, body: Any, **_: Any) -> Any:
        found = self._there(self.databases, number)
        if said := self._connection_problem(body["details"]):
            raise Refusal(400, {"message": said})
        found.update(body)
        return self._shown(found)

    def _get_database_of_healthcheck(self, number: str, **_: Any) -> Any:
        said = self._connection_problem(self._there(self.databases, number)["details"])
        return {"status": "error", "message": said} if said else {"status": "ok"}

    def _post_database_of_sync_schema(self, number: str, **_: Any) -> Any:
        self._there(self.databases, number)
        return {"status": "ok"}

    def _connection_problem(self, details: Mapping[str, Any]) -> str:
        try:
            self._connect(details).close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    def _connect(self, details: Mapping[str, Any]) -> psycopg.Connection[Any]:
        names = ("host", "port", "dbname", "user", "password")
        return psycopg.connect(**{name: details[name] for name in names}, connect_timeout=5, row_factory=dict_row)

    # -- collections --------------------------------------------------------------------------------------------------

    def _get_collection(self, **_: Any) -> Any:
        return [{"id": "root", "name": "Our analytics"}, *(c for c in self.collections.values() if not c["archived"])]

    def _get_collection_trash(self, **_: Any) -> Any:
        return {"id": self.trash, "name": "Trash", "type": "trash", "location": "/"}

    def _get_collection_of(self, number: str, **_: Any) -> Any:
        return self._there(self.collections, number)

    def _post_collection(self, body: Any, **_: Any) -> Any:
        parent = body.get("parent_id")
        location = "/" if parent is None else f"{self._there(self.collections, parent)['location']}{parent}/"
        made = {
            "id": next(self.numbers),
            "name": body["name"],
            "description": body.get("description"),
            "location": location,
            "archived": False,
            "entity_id": entity_id(),
            "can_write": True,
            "slug": body["name"].lower(),
        }
        self.collections[made["id"]] = made
        return made

    def _put_collection_of(self, number: str, body: Any, **_: Any) -> Any:
        found = self._there(self.collections, number)
        found.update(body)
        return found

    def _get_collection_of_items(self, number: str, query: Mapping[str, str], **_: Any) -> Any:
        in_trash = int(number) == self.trash
        if not in_trash:
            self._there(self.collections, number)
        model = query.get("models")
        kept = {"card": self.cards, "dashboard": self.dashboards}
        items = [
            {n: one[n] for n in ("id", "name", "description", "entity_id", "archived")} | {"model": kind}
            for kind, things in kept.items()
            for one in things.values()
            if model in (kind, None)
            and (one["archived"] if in_trash else one["collection_id"] == int(number) and not one["archived"])
        ]
        since, most = int(query.get("offset", 0)), int(query.get("limit", 1000))
        return {"data": items[since : since + most], "total": len(items), "models": [model]}

    # -- cards --------------------------------------------------------------------------------------------------------

    def _get_card(self, **_: Any) -> Any:
        return [card for card in self.cards.values() if not card["archived"]]

    def _get_card_of(self, number: str, **_: Any) -> Any:
        return self._there(self.cards, number)

    def _post_card(self, body: Any, **_: Any) -> Any:
        made = {
            "type": "question",
            "description": None,
            "parameters": [],
            **deepcopy(body),
            "id": next(self.numbers),
            "archived": False,
            "query_type": "native",
            "database_id": body["dataset_query"]["database"],
            "table_id": None,
            "creator_id": 1,
            # Its document lets one be given, and Metabase makes one of its own all the same.
            "entity_id": entity_id(),
        }
        self._settle_card(made)
        self.cards[made["id"]] = made
        return made

    def _put_card_of(self, number: str, body: Any, **_: Any) -> Any:
        card = self._there(self.cards, number)
        card.update(deepcopy(body))
        self._settle_card(card)
        if card["archived"]:
            for dashboard in self.dashboards.values():
                dashboard["dashcards"] = [d for d in dashboard["dashcards"] if d["card_id"] != card["id"]]
        return card

    def _settle_card(self, card: dict[str, Any]) -> None:
        """What Metabase adds to a query, and what it needs to be there."""
        self._there(self.databases, card["dataset_query"]["database"], status=400)
        if card.get("collection_id") is not None:
            self._there(self.collections, card["collection_id"], status=400)
        (stage,) = card["dataset_query"]["stages"]
        stage["lib/uuid"] = "9b7c2f1e-0d2f-4a33-9a39-0c8a4a0b7d11"

    def _post_card_of_query(self, number: str, body: Any, **_: Any) -> Any:
        card = self._there(self.cards, number)
        given = {p["target"][1][1]: p["value"] for p in body.get("parameters", [])}
        details = self.databases[card["dataset_query"]["database"]]["details"]
        with self._connect(details) as connection:
            try:
                rows = run(connection, card["dataset_query"]["stages"][0], given)
            except (psycopg.Error, MissingValue) as error:
                return {"status": "failed", "error": str(error), "row_count": 0}
        columns = list(rows[0]) if rows else []
        shown = [[None if v is None else str(v) for v in row.values()] for row in rows]
        return {
            "status": "completed",
            "row_count": len(rows),
            "data": {"rows": shown, "cols": [{"name": c} for c in columns]},
        }

    # -- dashboards ---------------------------------------------------------------------------------------------------

    def _get_dashboard(self, **_: Any) -> Any:
        return [d for d in self.dashboards.values() if not d["archived"]]

    def _get_dashboard_of(self, number: str, **_: Any) -> Any:
        return self._there(self.dashboards, number)

    def _post_dashboard(self, body: Any, **_: Any) -> Any:
        made = {
            "description": None,
            "collection_id": None,
            **deepcopy(body),
            "parameters": body.get("parameters") or [],
            "id": next(self.numbers),
            "archived": False,
            "creator_id": 1,
            "entity_id": entity_id(),
            "width": "fixed",
            "auto_apply_filters": True,
            "enable_embedding": False,
            "public_uuid": None,
            "cache_ttl": None,
            "dashcards": [],
            "tabs": [],
        }
        self.dashboards[made["id"]] = made
        return made

    def _put_dashboard_of(self, number: str, body: Any, **_: Any) -> Any:
        found = self._there(self.dashboards, number)
        if "dashcards" in body:
            if found["tabs"] and not body.get("tabs"):
                raise Refusal(400, "This dashboard has tab, makes sure every card has a tab")
            body = body | {"dashcards": [self._dashcard(found, one) for one in body["dashcards"]]}
        found.update(deepcopy(body))
        return found

    def _dashcard(self, dashboard: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
        if sent.get("card_id") is not None:
            self._there(self.cards, sent["card_id"], status=400)
        there = {one["id"] for one in dashboard["dashcards"]}
        if sent["id"] > 0 and sent["id"] not in there:
            raise Refusal(400, {"errors": {"dashcards": f"there is no dashcard {sent['id']}"}})
        return {
            "dashboard_tab_id": None,
            "parameter_mappings": [],
            "visualization_settings": {},
            "inline_parameters": None,
            **sent,
            "id": sent["id"] if sent["id"] > 0 else next(self.numbers),
            "dashboard_id": dashboard["id"],
            "entity_id": entity_id(),
            "created_at": "2026-01-01T00:00:00Z",
        }

    def _there(self, things: Mapping[int, dict[str, Any]], number: Any, *, status: int = 404) -> dict[str, Any]:
        """By number or by entity id."""
        for one in things.values():
            if str(number) in (str(one["id"]), one.get("entity_id")):
                return one
        raise Refusal(status, "Not found.")


@contextmanager
def serving(stand_in: StandIn, port: int = 0) -> Iterator[StandIn]:
    """The stand-in at an address of loopback, from here until it is left."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = address.path.removeprefix("/api")
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                said = stand_in.answer(
                    self.command, path, dict(parse_qsl(address.query)), json.loads(body or b"null"), headers
                )
                status = 200 if said is not None else 204
            except Refusal as refusal:
                status, said = refusal.status, refusal.answer
            self._send(status, said)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def _send(self, status: int, said: Any) -> None:
            # Metabase answers with plain text where there is no more detail.
            content = b"" if said is None else (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(said, str) else "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
