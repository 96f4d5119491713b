"""Whether someone is starting or stopping live jobs: a job that does not run in that time is not a failure.

It is a lock, which ends with the process that holds it; the file's time also shows a short downtime that has passed.
The task that keeps the jobs running takes no lock: if it has to restart a job, that job did end by itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warehouse.deployment import Deployment


@contextmanager
def asked_for(deployment: Deployment) -> Iterator[None]:
    """Marks starts and stops inside the block as intended."""
    path = _path(deployment)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(path)
        try:
            yield
        finally:
            os.utime(path)


def asked_at(deployment: Deployment, now: float) -> float:
    """When somebody last had jobs started or stopped: ``now`` while that runs, 0 if nobody ever did."""
    try:
        with _path(deployment).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(lock.fileno()).st_mtime
    except FileNotFoundError:
        return 0.0
    except BlockingIOError:
        return now


def _path(deployment: Deployment) -> Path:
    return deployment.work_dir / "asked.lock"
