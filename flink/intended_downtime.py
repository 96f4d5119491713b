"""Whether somebody is having live jobs started or stopped: one that does not run then is no news.

A lock, which ends with the process that has it, and the file's time, by which a short one is noticed later as well.
Who keeps the jobs running unasked takes none: a job that it has to start again did end unasked.
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
    """What is done inside, somebody asked for."""
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
