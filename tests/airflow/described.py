"""Run by Airflow's Python: prints as JSON what Airflow itself makes of the folder of DAGs.

The arguments are the folder, and what `insights` is for a test of its exit codes.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def described(folder: str) -> dict[str, Any]:
    """Each DAG by its name, and what could not be imported."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = BundleDagBag(folder, bundle_path=Path(folder), bundle_name="dags-folder")
    return {
        "errors": {file: error.strip().splitlines()[-1] for file, error in bag.import_errors.items()},
        "dags": {name: of(dag) for name, dag in bag.dags.items()},
        "stored": sorted(DagSerialization.to_dict(dag)["dag"]["dag_id"] for dag in bag.dags.values()),
    }


def of(dag: Any) -> dict[str, Any]:
    """What the scheduler goes by."""
    (task,) = dag.tasks
    return {
        "schedule": dag.schedule,
        "zone": str(dag.timezone),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "description": dag.description,
        "params": {name: param.schema for name, param in dag.params.items()},
        "task": task.task_id,
        "owner": task.owner,
        "arguments": task.arguments,
        "retries": task.retries,
        "waits": [
            task.retry_delay.total_seconds(),
            task.retry_exponential_backoff,
            task.max_retry_delay.total_seconds(),
        ],
        "seconds": task.execution_timeout.total_seconds(),
        "on_failure": [call.__name__ for call in task.on_failure_callback],
    }


def endings(folder: str, program: str) -> dict[str, list[str]]:
    """What a task raises, and with which words, by the arguments of a stand-in for `insights`."""
    sys.path.insert(0, folder)
    import insights_airflow

    insights_airflow.program = lambda: program
    found = {}
    for says in ("exit 0", "exit 1", "exit 3", "exit 75", "exit 143", "kill -TERM $$", "; echo $HOME `id` ' \" \n*"):
        task = insights_airflow.InsightsCommand(task_id="one", arguments=["says", says])
        try:
            task.execute({})
            found[says] = ["", ""]
        except Exception as error:
            found[says] = [type(error).__name__, str(error)]
    found["stopped"] = stopped(insights_airflow.InsightsCommand(task_id="one", arguments=["says", "exec sleep 1000"]))
    return found


def stopped(task: Any) -> list[str]:
    """What a task raises that is stopped while its command runs, as at a time-out."""
    with ThreadPoolExecutor() as threads:
        running = threads.submit(task.execute, {})
        deadline = time.monotonic() + 60
        while task._process.sub_process is None and time.monotonic() < deadline:
            time.sleep(0.01)
        task.on_kill()
        error = running.exception(timeout=60)
    return [type(error).__name__, str(error)]


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        folder, program = sys.argv[1:]
        answer = described(folder) | {"endings": endings(folder, program)}
    print(json.dumps(answer, default=str))
