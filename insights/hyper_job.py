"""Puts a Parquet file into a new extract: ``hyper_job.py PARQUET HYPER TABLE``. Prints how many rows are in it then.

Runs in the environment `tableau`, with the standard library and Tableau's Hyper API. Hyper reads Parquet itself, so no
value passes through Python.
"""

import sys

from tableauhyperapi import (
    Connection,
    CreateMode,
    HyperException,
    HyperProcess,
    TableName,
    Telemetry,
    escape_string_literal,
)


def main(parquet: str, hyper: str, table: str) -> None:
    """The process of Hyper ends with this one."""
    name = TableName("public", table)
    # Without a log: by default Hyper writes one into the folder that it was started in.
    with (
        HyperProcess(Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU, parameters={"log_config": ""}) as process,
        Connection(process.endpoint, hyper, CreateMode.CREATE_AND_REPLACE) as connection,
    ):
        source = f"external({escape_string_literal(parquet)}, format => 'parquet')"
        connection.execute_command(f"create table {name} as select * from {source}")  # noqa: S608
        print(connection.execute_scalar_query(f"select count(*) from {name}"))  # noqa: S608


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HyperException as error:
        sys.exit(" ".join(str(error).split()))
