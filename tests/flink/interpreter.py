"""Runs SQL on a real Flink, in one process for many requests: starting Java is paid for once.

Started by tests/flink/process.py with the flink environment's Python. A request is a line of JSON on standard input::

    {"wanted": "run", "settings": {...},
     "parts": [{"name": "...", "statements": [...], "inserts": [...], "queries": [...]}]}

Each part has a database of its own, so that parts may use the same names. Wanted is to ``run`` all inserts as one job
in this process, to ``explain`` that job, to ``describe`` each query's columns, or to ``plan`` each query: of each its
``{"columns": {name: type}}`` or, when Flink has no plan for it, an ``{"error": ...}``. The answer is a line of JSON:
``{"answer": ...}`` or ``{"error": ...}``.
"""

import json
import os
import sys

# Java writes to standard output too, and the answers must stay apart.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from pyflink.common import Configuration  # noqa: E402
from pyflink.table import EnvironmentSettings, ExplainDetail, TableEnvironment  # noqa: E402


def columns(table):
    """Name to type, as SQL writes it."""
    found = table._j_table.getResolvedSchema().getColumns()
    return {found.get(n).getName(): str(found.get(n).getDataType()) for n in range(found.size())}


def planned(environment, query):
    try:
        table = environment.sql_query(query)
        table.explain()
        return {"columns": columns(table)}
    except Exception as error:
        return {"error": str(error)}


def answer(request):
    configuration = Configuration()
    for key, value in request["settings"].items():
        configuration.set_string(key, value)
    builder = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    environment = TableEnvironment.create(builder.build())
    job = environment.create_statement_set()
    described = []
    for part in request["parts"]:
        environment.execute_sql(f"create database `default_catalog`.`{part['name']}`")
        environment.use_database(part["name"])
        for statement in part["statements"]:
            environment.execute_sql(statement)
        for insert in part["inserts"]:
            job.add_insert_sql(insert)
        if request["wanted"] == "plan":
            described += [planned(environment, query) for query in part["queries"]]
        else:
            described += [columns(environment.sql_query(query)) for query in part["queries"]]
    if request["wanted"] in ("describe", "plan"):
        return described
    if request["wanted"] == "explain":
        return job.explain(ExplainDetail.CHANGELOG_MODE)
    job.execute().wait()
    return None


for line in sys.stdin:
    try:
        reply = {"answer": answer(json.loads(line))}
    except Exception as error:
        reply = {"error": str(error)}
    ANSWERS.write(json.dumps(reply) + "\n")
