"""Runs dbt again and again in one process of dbt's environment: loading dbt takes longer than a small build.

A line of JSON in, ``{"arguments": [...], "environment": {...}}``; one out, how it went. The standard library and dbt.
"""

import json
import os
import sys

sys.path.pop(0)  # dbt takes whatever it finds there under a name like dbt_this for a plugin

from dbt.cli.main import dbtRunner  # noqa: E402


def answer(asked: dict) -> dict:
    os.environ.update(asked["environment"])
    done = dbtRunner().invoke(asked["arguments"])
    results = getattr(done.result, "results", None) or []
    return {
        "success": done.success,
        "exception": str(done.exception) if done.exception else "",
        "results": [
            {
                "name": getattr(r.node, "name", ""),
                "status": str(r.status),
                "message": r.message or "",
                "seconds": r.execution_time,
            }
            for r in results
        ],
    }


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # what dbt prints is no answer
    with os.fdopen(out, "w") as answers:
        for line in sys.stdin:
            answers.write(json.dumps(answer(json.loads(line))) + "\n")
            answers.flush()
