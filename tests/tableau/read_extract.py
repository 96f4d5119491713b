"""Prints what is in an extract, as JSON: its tables, the columns with their types, and every cell as text.

Run by the tests with the environment `tableau`.
"""

import json
import sys
from decimal import Decimal

from tableauhyperapi import Connection, Date, HyperProcess, Telemetry, Timestamp


def cell(value):
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Timestamp):
        assert str(value.tzinfo) == "UTC"
        return value.to_datetime().isoformat()
    if isinstance(value, Date):
        return value.to_date().isoformat()
    return None if value is None else str(value)


with (
    HyperProcess(Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU, parameters={"log_config": ""}) as process,
    Connection(process.endpoint, sys.argv[1]) as connection,
):
    found = {}
    for table in connection.catalog.get_table_names("public"):
        columns = connection.catalog.get_table_definition(table).columns
        rows = connection.execute_list_query(f"select * from {table}")  # noqa: S608
        found[table.name.unescaped] = {
            "columns": {column.name.unescaped: str(column.type) for column in columns},
            "rows": [[cell(value) for value in row] for row in rows],
        }
    json.dump(found, sys.stdout)
