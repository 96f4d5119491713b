"""Athena's API as dbt uses it, with Trino behind it: what comes as Athena's SQL is run, and refused, as Athena would.

Athena reads DML with Trino's grammar, and DDL with Hive's. What DDL the adapter and our macros send is put into Trino's
words. A table must be Iceberg's, and neither a table nor a view may have a time with a zone: a rule of Athena's.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trino

from tests.marts.own_aws import client
from tests.marts.own_trino import CATALOG

JSON = "application/x-amz-json-1.1"
ICEBERG_ERROR, OTHER_ERROR = 233, 1  # AthenaError's ErrorType, of Athena's error catalogue
PAGE = 1000
CTAS = re.compile(r"(create table\s+(?P<name>\S+)\s+with\s*\()(?P<properties>.*?)\)\s*as\b", re.I | re.S)
VIEW = re.compile(r"create or replace view\s+(?P<name>\S+)\s+as\b", re.I)
DDL = re.compile(
    r"create table if not exists (?P<name>\S+) \((?P<columns>.*)\) partitioned by \((?P<partition>\w+)\)"
    r" location '(?P<location>[^']*)'"
    r" tblproperties \('table_type' ?= ?'iceberg'.*\)",
    re.I | re.S,
)
RENAME = re.compile(r"alter table (?P<old>\S+) rename to (?P<new>\S+)", re.I)
PRESTO_VIEW = "Presto View"
OF_A_TABLE = {"Name", "Description", "TableType", "Parameters", "StorageDescriptor"} | {
    *("ViewOriginalText", "ViewExpandedText")
}
KEPT = ("location", "format", "partitioning")


class Refused(Exception):
    """Athena would reject it; the message has the reason."""


@dataclass
class Query:
    """One that has ended. ``rows`` are texts as Athena writes them; None is null."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    changed: int = -1
    error: str = ""
    is_ddl: bool = False


@dataclass
class Athena:
    """What was asked is in ``log``, in order."""

    port: int
    aws: str
    log: list[str] = field(default_factory=list)
    queries: dict[str, Query] = field(default_factory=dict)
    turns: dict[str, threading.Lock] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)

    def ask(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        match action:
            case "StartQueryExecution":
                return self._start(request)
            case "GetQueryExecution":
                return {"QueryExecution": self._state(request["QueryExecutionId"])}
            case "GetQueryResults":
                return self._results(request)
            case "GetWorkGroup":
                return {"WorkGroup": {"Name": request["WorkGroup"], "State": "ENABLED", "Configuration": {}}}
        raise NotImplementedError(action)

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        # Answers when the query has ended: who asks for its state afterwards need not wait. Who did not wait for the
        # answer asks again with the same token, and the query runs once.
        number, text = request["ClientRequestToken"], request["QueryString"]
        with self.turns.setdefault(number, threading.Lock()):
            if number not in self.queries:
                self.log.append(text)
                self.queries[number] = self._answered(text, request["QueryExecutionContext"].get("Database"))
        return {"QueryExecutionId": number}

    def _answered(self, text: str, database: str | None) -> Query:
        try:
            return self._run(text, database)
        except Refused as error:
            return Query(error=str(error))
        except trino.exceptions.TrinoQueryError as error:
            # The name before it, as Athena writes it: dbt tries again after an ICEBERG_COMMIT_ERROR.
            return Query(error=f"{error.error_name}: {error.message}")

    def _run(self, text: str, database: str | None) -> Query:
        sql = without_comments(text).strip().rstrip(";")
        if ";" in re.sub(r"'[^']*'", "", sql):
            raise Refused(f"Only one sql statement is allowed. Got: {text}")
        self._keep_views()
        with trino.dbapi.connect(
            host="127.0.0.1", port=self.port, user="dbt", catalog=CATALOG, schema=database, timezone="UTC"
        ) as connection:
            cursor = connection.cursor()
            made = CTAS.match(sql) or VIEW.match(sql)
            if made:
                _check_types(cursor, sql[made.end() :])
            cursor.execute(in_trinos_words(sql))
            rows = cursor.fetchall()
            if view := VIEW.match(sql):
                self._tell_columns(cursor, view["name"])
            columns = [(c[0], str(c[1])) for c in cursor.description or []]
            is_query = re.match(r"\(*\s*(select|with|show|describe|values)\b", sql, re.I) is not None
            if not is_query:
                return Query(changed=cursor.rowcount, is_ddl=re.match(r"(create|alter|drop)", sql, re.I) is not None)
            return Query(columns=columns, rows=[[as_text(value) for value in row] for row in rows])

    def _tell_columns(self, cursor: trino.dbapi.Cursor, name: str) -> None:
        """As Athena, and not as Trino, a view's columns are registered in Glue, in Hive's types."""
        columns = cursor.execute(f"show columns from {name}").fetchall()
        hive = {"varchar": "string", "integer": "int", "varbinary": "binary", "timestamp(6)": "timestamp"}
        view = self._view(name)
        shown = [{"Name": c[0], "Type": hive.get(c[1], c[1])} for c in columns]
        view["StorageDescriptor"] = {"Columns": shown, "Location": ""}
        self._change_view(name, view)
        self._forget_versions_without_columns(name)
        self.views.add(name)

    def _forget_versions_without_columns(self, name: str) -> None:
        """Those that Trino made: Athena makes none, and dbt looks into all."""
        (schema, table), glue = _parts(name), client("glue", self.aws)
        for version in glue.get_table_versions(DatabaseName=schema, TableName=table)["TableVersions"]:
            if "StorageDescriptor" not in version["Table"]:
                glue.delete_table_version(DatabaseName=schema, TableName=table, VersionId=version["VersionId"])

    def _keep_views(self) -> None:
        """dbt writes a view's description where Trino, and not Athena, looks for the word that it is a view."""
        for name in sorted(self.views):
            view = self._view(name)
            if view["Parameters"].get("comment") != PRESTO_VIEW:
                view["Parameters"]["comment"] = PRESTO_VIEW
                self._change_view(name, view)
                self.views.discard(name)

    def _view(self, name: str) -> dict[str, Any]:
        schema, table = _parts(name)
        there = client("glue", self.aws).get_table(DatabaseName=schema, Name=table)["Table"]
        return {key: there[key] for key in there.keys() & OF_A_TABLE}

    def _change_view(self, name: str, view: dict[str, Any]) -> None:
        client("glue", self.aws).update_table(DatabaseName=_parts(name)[0], TableInput=view)

    def _state(self, number: str) -> dict[str, Any]:
        query = self.queries[number]
        status: dict[str, Any] = {"State": "FAILED" if query.error else "SUCCEEDED"}
        if query.error:
            kind = ICEBERG_ERROR if query.error.startswith("ICEBERG_") else OTHER_ERROR
            status |= {"StateChangeReason": query.error, "AthenaError": {"ErrorCategory": 2, "ErrorType": kind}}
        return {
            "QueryExecutionId": number,
            "Status": status,
            "StatementType": "DDL" if query.is_ddl else "DML",
            "Statistics": {"DataScannedInBytes": 0},
        }

    def _results(self, request: dict[str, Any]) -> dict[str, Any]:
        query = self.queries[request["QueryExecutionId"]]
        start = int(request.get("NextToken") or 0)
        rows = query.rows[start : start + PAGE]
        names: list[list[str | None]] = [[name for name, _ in query.columns]]
        shown = rows if start or query.is_ddl else names + rows
        info = [{"Name": name, "Type": re.sub(r"\(.*?\)", "", kind)} for name, kind in query.columns]
        answer: dict[str, Any] = {
            "ResultSet": {
                "Rows": [{"Data": [{} if v is None else {"VarCharValue": v} for v in row]} for row in shown],
                "ResultSetMetadata": {"ColumnInfo": info},
            },
            "UpdateCount": query.changed,
        }
        if start + PAGE < len(query.rows):
            answer["NextToken"] = str(start + PAGE)
        return answer


def without_comments(sql: str) -> str:
    """The statement from its first word on."""
    return re.sub(r"\A(\s|--[^\n]*\n|/\*.*?\*/)+", "", sql, flags=re.S)


def in_trinos_words(sql: str) -> str:
    """Athena's DDL as Trino takes it, all else as it is. Raises Refused for a table that is not Iceberg's."""
    if found := CTAS.match(sql):
        properties = _properties(found["properties"])
        # What dbt makes for a unit test it asks for its columns alone: Hive will do.
        if properties.get("table_type") != "'iceberg'" and not _parts(found["name"])[1].endswith("__dbt_tmp"):
            raise Refused(f"{found['name']} would be a table of Hive's: its type is {properties.get('table_type')}")
        if "external_location" in properties:
            properties["location"] = properties["external_location"]
        kept = ", ".join(f"{name} = {value}" for name, value in properties.items() if name in KEPT)
        return f"create table {found['name']} with ({kept}) as {sql[found.end() :]}"
    if found := DDL.match(sql):
        columns = re.sub(r"\bstring\b", "varchar", found["columns"], flags=re.I)
        where = f"location = '{found['location']}', partitioning = array['{found['partition']}']"
        return f"create table if not exists {found['name']} ({columns}) with ({where})"
    if found := RENAME.match(sql):
        return f"alter table {_quoted(found['old'])} rename to {_quoted(found['new'])}"
    if re.match(r"(alter|drop|create schema)", sql, re.I):
        return _quoted(sql)
    return sql


def _parts(name: str) -> list[str]:
    return name.replace('"', "").split(".")[-2:]


def _quoted(sql: str) -> str:
    return sql.replace("`", '"')


def _properties(text: str) -> dict[str, str]:
    pairs = re.findall(r"(\w+)\s*=\s*(ARRAY\[.*?\]|'[^']*'|\w+)", text, re.S)
    return {name: value.strip() for name, value in pairs}


def _check_types(cursor: trino.dbapi.Cursor, query: str) -> None:
    cursor.execute(f"select * from ({query}) limit 0")
    cursor.fetchall()
    for name, kind, *_ in cursor.description or []:
        if "time zone" in str(kind):
            raise Refused(f"Invalid column type for column {name}: Unsupported Hive type: {kind}")


def as_text(value: Any) -> str | None:
    """A value as Athena's results have it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


@contextmanager
def own_athena(trino_port: int, aws: str) -> Iterator[tuple[str, Athena]]:
    """The address of an Athena whose queries that Trino runs, and what it was asked, from here until it is left."""
    athena = Athena(port=trino_port, aws=aws)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            action = self.headers["X-Amz-Target"].split(".")[-1]
            answer = json.dumps(athena.ask(action, json.loads(body))).encode()
            self.send_response(200)
            self.send_header("Content-Type", JSON)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Athena.log has it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", athena
        finally:
            server.shutdown()
            thread.join()
