"""``insights flink``: the live job, by hand. The embedded stack does all of this by itself."""

from __future__ import annotations

from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings

app = runtime.group("Control the live Flink job by hand; `up` starts it for you.", example="insights flink list")
FromBeginning = Annotated[
    bool,
    typer.Option(
        "--from-beginning",
        metavar="",
        help="Rebuild from scratch: discard their state, empty their tables and read the whole log again.",
    ),
]


@app.command()
def submit(from_beginning: FromBeginning = False) -> None:
    """Start the live jobs from their latest snapshots. Does nothing when they are running.

    Example: insights flink submit
    """
    from aggregates.catalogue import aggregates
    from flink import job_control
    from flink.live_job import JOB_NAME, differences, kept_jobs
    from insights.wiring import deployment

    settings = load_settings()
    target = deployment(settings)
    job = _start_over(settings) if from_beginning else job_control.submit(target)
    runtime.say(f"{JOB_NAME} runs as {job}")
    for line in differences(kept_jobs(target), aggregates()):
        runtime.say(line, style="yellow")


def _start_over(settings: Settings) -> str:
    from flink import job_control
    from insights.wiring import deployment, replay_context
    from replay import run_history
    from replay.planning import everything

    context = replay_context(settings)
    with run_history.alone(context, everything()):
        job_control.refuse_incomplete(job_control.log_beginnings(settings.kafka))
        with context.postgres() as connection:
            run_history.supersede(connection)
        return job_control.start_over(deployment(settings))


@app.command("list")
def list_() -> None:
    """List Flink's jobs.

    Example: insights flink list
    """
    from flink import job_control
    from insights.cli.status_views import jobs_table
    from insights.wiring import deployment

    runtime.show(jobs_table(job_control.jobs(deployment(load_settings()))))


@app.command()
def stop() -> None:
    """Stop the live jobs with savepoints; the next submit resumes from them.

    Example: insights flink stop
    """
    from flink import job_control
    from insights.wiring import deployment

    for path in job_control.stop(deployment(load_settings())):
        runtime.say(f"stopped; its state is in {path}")


@app.command()
def savepoint() -> None:
    """Take savepoints of the live jobs while they run.

    Example: insights flink savepoint
    """
    from flink import job_control
    from insights.wiring import deployment

    for path in job_control.savepoint(deployment(load_settings())):
        runtime.say(f"its state is in {path}")


def end_stop(settings: Settings) -> bool:
    """If somebody stopped the live job, that hold ends here, with a line. Any other hold is shown, and stays."""
    from flink import job_control
    from insights.wiring import deployment

    hold = job_control.end_stop(deployment(settings))
    if hold is None:
        return False
    sentence = f"{hold.sentence[:1].upper()}{hold.sentence[1:]}"
    was_stopped = hold.why == "stopped"
    runtime.say(f"{sentence}: starting it again." if was_stopped else f"{sentence}; {hold.way_out}.", style="yellow")
    return was_stopped


def start_again(settings: Settings) -> None:
    """Blocks until the live jobs run."""
    from flink import job_control
    from insights.wiring import deployment

    runtime.say(f"It is running as {job_control.submit(deployment(settings))}.")
