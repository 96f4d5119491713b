"""Submits a JobPlan: `flink run -py job.py PLAN.json`.

Managed Flink runs this before any package is installed: the standard library and pyflink only.
"""

import json
import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment


def main(path: str) -> None:
    """Executes the plan's statements and submits its inserts as one job."""
    plan = json.loads(Path(path).read_text())
    configuration = Configuration()
    for key, value in plan["settings"].items():
        configuration.set_string(key, value)
    builder = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    environment = TableEnvironment.create(builder.build())
    for statement in plan["statements"]:
        environment.execute_sql(statement)
    inserts = environment.create_statement_set()
    for insert in plan["inserts"]:
        inserts.add_insert_sql(insert)
    if "--explain" in sys.argv:
        print(inserts.explain())
        return
    inserts.execute()


if __name__ == "__main__":
    main(sys.argv[1])
