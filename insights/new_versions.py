"""New versions of aggregates, from their replay until readers see them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from replay.planning import Wish, make_plan
from replay.promote import promote
from replay.run import LiveJobBehind, run
from replay.verify import verify

if TYPE_CHECKING:
    from replay.context import Context, Say
    from replay.plan_file import ReplayPlan
    from replay.run import ComputeEngine
    from replay.run_history import Run

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 1.0


def hand_over(
    context: Context, names: Iterable[str], engine: ComputeEngine, *, reason: str | None, by: str, say: Say
) -> Run:
    """Computes aggregates' history by their folders, and makes it what readers see, with one live job of their own.

    Blocks. Without a ``reason``, the history must equal what readers see. Raises what the steps of a replay raise; then
    readers see what they saw, and it can be done again.
    """
    done = computed(context, names, engine, by=by, say=say)
    verify(context, done.run, say=say)
    return promote(context, done.run, reason=reason, by=by, say=say)


def computed(context: Context, names: Iterable[str], engine: ComputeEngine, *, by: str, say: Say) -> Run:
    """A run over all of history. Blocks. Raises LiveJobBehind when the lake does not get the newest records."""
    plan = make_plan(context, Wish(names=tuple(names), scope="beginning"))
    return _run_when_the_lake_has_all(context, plan, engine, by=by, say=say)


def _run_when_the_lake_has_all(context: Context, plan: ReplayPlan, engine: ComputeEngine, *, by: str, say: Say) -> Run:
    """It gets the newest records with a checkpoint."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return run(context, plan, engine, by=by, say=say, on_event=lambda event: None)
        except LiveJobBehind:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
