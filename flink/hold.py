"""The hold keeps a live job that was stopped on purpose stopped until someone starts it.

It records who stopped the job, and when. It is a file that exists or not, written atomically. The task that keeps the
job running reads it under the lock of submit and stop (``job_control.one_at_a_time``), so that there is no moment
between a job's end and its hold.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from warehouse.deployment import Deployment
from warehouse.postgres import Connection

Why = Literal["stopped", "starting over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """``why`` is starting over when tables and state may be half emptied: only another start from the log's beginning
    is right then.
    """

    by: str
    at: datetime
    why: Why = "stopped"

    @property
    def sentence(self) -> str:
        """Who did what and when, as a sentence."""
        when = f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if self.why == "stopped":
            return f"the live job was stopped by {self.by} at {when}"
        return f"{self.by} began a rebuild from scratch at {when} that was not finished"

    @property
    def way_out(self) -> str:
        """What makes the job run again, for people."""
        if self.why == "stopped":
            return "`insights up` or `insights flink submit` starts it"
        return "`insights flink submit --from-beginning` finishes it"


def now_by_me(why: Why = "stopped") -> Hold:
    """A hold from now, by the user who runs this process."""
    try:
        by = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        by = "somebody"
    return Hold(by=by, at=datetime.now(UTC), why=why)


def held(deployment: Deployment) -> Hold | None:
    """The hold, if there is one."""
    path = _path(deployment)
    try:
        written = path.read_text()
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
    try:
        known = json.loads(written)
        return Hold(by=known["by"], at=datetime.fromisoformat(known["at"]), why=known["why"])
    except (ValueError, KeyError, TypeError):  # an earlier version's is empty
        return Hold(by="somebody", at=since)


def set_hold(deployment: Deployment, hold: Hold) -> None:
    """Written atomically."""
    path = _path(deployment)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({**asdict(hold), "at": hold.at.isoformat()}))
    part.replace(path)


def release(deployment: Deployment) -> None:
    """From now on the job is to run."""
    _path(deployment).unlink(missing_ok=True)


def record(connection: Connection, hold: Hold | None) -> None:
    """Writes it to ops.holds for the alerts, which has a row while there is a hold. In the caller's transaction."""
    connection.execute("delete from ops.holds")
    if hold:
        connection.execute(
            "insert into ops.holds (held_at, held_by, why) values (%s, %s, %s)", (hold.at, hold.by, hold.why)
        )


def _path(deployment: Deployment) -> Path:
    return deployment.work_dir / "held"
