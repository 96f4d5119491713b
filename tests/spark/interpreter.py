"""Runs spark/job.py's own code for many requests in one Spark: starting it is paid for once.

Started by tests/spark/process.py with the Spark environment's Python. A request is a line of JSON on standard input,
the answer a line ``{"answer": ...}`` or ``{"error": ...}``. Wanted is to

``recompute``  a ``task`` (as JSON), with the Parquet file ``<log>/<event>.parquet`` for each topic; the answer is
               what was said
``describe``   the columns of ``queries``, each with its ``sql`` and ``inputs``: ``{"columns": {name: type}}`` for
               each, or ``{"error": text}``
``reads``      paths of the fields that are decoded of a contract's (``schema``, ``table``) records for one ``sql``
"""

import json
import os
import re
import sys
from pathlib import Path

# Java writes to standard output too, and the answers must stay apart.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "spark"))

import job  # noqa: E402
from task import Chunk, Computation, Input, read_task  # noqa: E402

EVER = Chunk(name="ever", from_time=None, until_time=None)


def recompute(request):
    events = []

    def raw(topic):
        return spark.read.parquet(f"{request['log']}/{topic.event}.parquet")

    job.recompute(spark, read_task(request["task"]), raw, lambda **event: events.append(event))
    return events


def describe(request):
    return [described(query) for query in request["queries"]]


def described(query):
    nothing = {"topic": "", "schemas": {}, "log": (), "lake": (), "late": {"plan": ""}}
    computation = Computation(
        aggregate="", sql=query["sql"], inputs=(), time_column=query["time_column"], columns={}, chunks=()
    )
    topics = [job.Topic(spark, Input(**i, **nothing), [computation], None) for i in query["inputs"]]
    try:
        for topic in topics:
            topic.show("plan", computation, EVER)
        found = spark.sql(query["sql"])
        found._jdf.queryExecution().executedPlan()
        return {"columns": {field.name: field.dataType.simpleString() for field in found.schema}}
    except Exception as error:
        return {"error": job.reason(error) + said_where(error)}
    finally:
        for topic in topics:
            topic.hide()


def reads(request):
    return list(paths(job.needed(json.loads(request["schema"]), request["table"], {"occurred_at"}, [request["sql"]])))


def paths(schema, prefix=""):
    for field in schema["fields"]:
        kind = field["type"]
        if isinstance(kind, dict) and isinstance(kind.get("items"), dict):
            yield from paths(kind["items"], f"{prefix}{field['name']}.")
        else:
            yield prefix + field["name"]


def said_where(error):
    """Spark's own words on where it is, which are not in every reason."""
    found = re.search(r"line \d+,? pos \d+", str(error))
    return f" ({found[0]})" if found and found[0] not in job.reason(error) else ""


spark = job.session()
WANTED = {"recompute": recompute, "describe": describe, "reads": reads}
for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = {"answer": WANTED[request["wanted"]](request)}
    except Exception as error:
        reply = {"error": job.reason(error)}
    ANSWERS.write(json.dumps(reply) + "\n")
