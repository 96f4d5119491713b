"""Runs SQL on a real Flink, in one process for many requests: starting Java is paid for once.

Started by tests/flink/process.py with the flink environment's Python. A request is a line of JSON on standard input::

    {"settings": {...}, "parts": [{"name": "...", "statements": [...], "inserts": [...]}], "explain": false}

Each part has a database of its own, so that parts may use the same names; all inserts run as one job in this
process. The answer is a line of JSON: ``{"text": ...}`` (the plan when it was asked to explain) or ``{"error": ...}``.
"""

import json
import os
import sys

# Java writes to standard output too, and the answers must stay apart.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from pyflink.common import Configuration  # noqa: E402
from pyflink.table import EnvironmentSettings, TableEnvironment  # noqa: E402


def answer(request):
    configuration = Configuration()
    for key, value in request["settings"].items():
        configuration.set_string(key, value)
    builder = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    environment = TableEnvironment.create(builder.build())
    job = environment.create_statement_set()
    for part in request["parts"]:
        environment.execute_sql(f"create database `default_catalog`.`{part['name']}`")
        environment.use_database(part["name"])
        for statement in part["statements"]:
            environment.execute_sql(statement)
        for insert in part["inserts"]:
            job.add_insert_sql(insert)
    if request["explain"]:
        return job.explain()
    job.execute().wait()
    return ""


for line in sys.stdin:
    try:
        reply = {"text": answer(json.loads(line))}
    except Exception as error:
        reply = {"error": str(error)}
    ANSWERS.write(json.dumps(reply) + "\n")
