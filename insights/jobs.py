"""``insights flink``: the live job, by hand. The embedded stack does all of this by itself."""

from __future__ import annotations

from typing import Annotated

import typer

from insights import front
from insights.settings import load_settings

app = front.group("The live job on Flink, by hand; `up` starts it by itself.", example="insights flink list")
FromBeginning = Annotated[
    bool,
    typer.Option(
        "--from-beginning", metavar="", help="Forget its state, empty its tables and read the whole log again."
    ),
]


@app.command()
def submit(from_beginning: FromBeginning = False) -> None:
    """Start the live job from its newest snapshot, or do nothing when it runs.

    Example: insights flink submit
    """
    from flink import deploy
    from flink.plan import JOB_NAME
    from insights.deployment import deployment

    target = deployment(load_settings())
    job = deploy.start_over(target) if from_beginning else deploy.submit(target)
    front.say(f"{JOB_NAME} runs as {job}")


@app.command("list")
def list_() -> None:
    """List the jobs that Flink knows.

    Example: insights flink list
    """
    from dataclasses import asdict

    from flink import deploy
    from insights.deployment import deployment
    from insights.status import Job
    from insights.views import jobs_table

    found = deploy.jobs(deployment(load_settings()))
    front.show(jobs_table([Job(**asdict(job)) for job in found]))


@app.command()
def stop() -> None:
    """Stop the live job with a savepoint, from which the next submit goes on.

    Example: insights flink stop
    """
    from flink import deploy
    from insights.deployment import deployment

    path = deploy.stop(deployment(load_settings()))
    front.say(f"stopped; its state is in {path}")


@app.command()
def savepoint() -> None:
    """Take a savepoint of the live job while it runs.

    Example: insights flink savepoint
    """
    from flink import deploy
    from insights.deployment import deployment

    path = deploy.savepoint(deployment(load_settings()))
    front.say(f"its state is in {path}")
