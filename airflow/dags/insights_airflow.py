"""What the DAGs of this folder share: each runs one command of `insights`, which cron or EventBridge could run as well.

Airflow's environment has none of the project's packages, so this needs Airflow and the standard library alone.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import DAG, BaseOperator, Context, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

CHECKOUT = Path(__file__).resolve().parents[2]
TRY_AGAIN = 75  # with this code a command ends that met a server that is away, or a lock that is held
INTERRUPTED = (130, 137, 143)  # how a shell reports SIGINT, SIGKILL and SIGTERM
NOT_THE_COMMANDS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")  # these are Airflow's own
RETRIES = {
    "retries": 5,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2,  # after 1, 2, 4, 8 and 16 minutes
    "max_retry_delay": timedelta(minutes=30),
}


class InsightsCommand(BaseOperator):
    """Runs `insights` with these arguments, and its output is the task's log. Blocks until it ends.

    No shell is in between: an argument stays one, whatever a parameter says. Code 0 is success. The task is tried again
    after TRY_AGAIN, or when something ended the command; any other code fails it at once, because the same command
    would say the same again. A time-out, or who stops the task, ends the command and what it started.
    """

    template_fields = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.arguments = list(arguments)
        self._process = SubprocessHook()

    def execute(self, context: Context) -> None:
        """Raises AirflowFailException when trying again would not help, otherwise AirflowException."""
        environment = {name: value for name, value in os.environ.items() if name not in NOT_THE_COMMANDS}
        done = self._process.run_command([program(), *self.arguments], {**environment, "PYTHONUNBUFFERED": "1"})
        if done.exit_code == 0:
            return
        may_help = done.exit_code < 0 or done.exit_code in (TRY_AGAIN, *INTERRUPTED)
        problem = AirflowException if may_help else AirflowFailException
        raise problem(f"`{by_hand(self.arguments)}` ended with code {done.exit_code}: {done.output}")

    def on_kill(self) -> None:
        """Ends the command with SIGTERM."""
        self._process.send_sigterm()


def insights_dag(
    name: str,
    *arguments: str,
    about: str,
    schedule: str | None,
    within: timedelta,
    params: Mapping[str, Param] | None = None,
) -> DAG:
    """A DAG of one task that runs `insights` with these arguments, of which each may be a template of Airflow's.

    One run at a time, and none for times that have passed. ``schedule`` is a cron expression in UTC; None is on request
    only. ``within``: each try that takes longer is ended, and made again.
    """
    with DAG(
        f"insights_{name}",
        description=about,
        schedule=schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params=dict(params or {}),
        tags=["insights"],
        default_args={"owner": "insights", "on_failure_callback": say_what_to_do, **RETRIES},
    ) as dag:
        InsightsCommand(task_id=name, arguments=arguments, execution_timeout=within)
    return dag


def program() -> str:
    """The checkout's that this folder is in, or the one on the PATH. Raises AirflowFailException when there is none."""
    in_checkout = CHECKOUT / ".venv" / "bin" / "insights"
    found = str(in_checkout) if in_checkout.exists() else shutil.which("insights")
    if found is None:
        raise AirflowFailException(
            f"there is no {in_checkout}, and no insights on the PATH: run `python3 bootstrap.py main` in the checkout"
        )
    return found


def by_hand(arguments: Sequence[str]) -> str:
    """The command as one types it."""
    return shlex.join(["insights", *arguments])


def say_what_to_do(context: Context) -> None:
    """Airflow calls this when a task has failed for good."""
    task = context["task"]
    logging.getLogger(__name__).error(
        "%s has failed, and is not tried again: %s. The output above says what to do; then clear this task, or run"
        " `%s` by hand.",
        task.dag_id,
        context.get("exception"),
        by_hand(task.arguments),
    )
