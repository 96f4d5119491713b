"""Upgrades the aggregates of an older release's stack to the definitions of this one, while the stack keeps counting.

This covers only additions: a version of an aggregate that gained columns, and a new aggregate. Each is handed over to;
readers see null in a gained column until then. A change of numbers is left to people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregates.catalogue import Aggregate, aggregates
from flink.live_job import changed_in_place, gained_only, kept_jobs, written
from schemas.errors import Misconfigured
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected
from warehouse.versions import seen_versions

if TYPE_CHECKING:
    from replay.context import Context, Say
    from replay.run import ComputeEngine

BY = "insights upgrade"
# Of a replay's last run (replay/run_history.py).
SETTLED = ("rolled back", "differs", "pruned")
LAST_RUNS = """
select distinct on (name, version) a ->> 'name' as name, (a ->> 'version')::int as version, status
from ops.replays, jsonb_array_elements(plan -> 'aggregates') as a order by name, version, created_at desc
"""
LEFT = """
select run, aggregates from ops.replays as r
where status = 'promoted' and promoted_by = %s
    and exists (select from ops.versions as v where v.aggregate = any(r.aggregates) and v.since is null)
order by promoted_at
"""


def refuse_changed_in_place(deployment: Deployment) -> None:
    """Raises Misconfigured when a folder has other columns than its version that is live: no table fits both."""
    changed = changed_in_place(kept_jobs(deployment), aggregates())
    if changed:
        a = changed[0]
        raise Misconfigured(
            f"aggregates/{a.name} has other columns than its live version {a.version}. Nothing was changed. Set"
            f" `version = {a.version + 1}` in its aggregate.toml, and the stack adds that version with its history. Or"
            " revert the change"
        )


def is_needed(deployment: Deployment) -> bool:
    """Whether there is something to add, or something left over. Blocks for two queries to Postgres."""
    with connected(deployment) as connection:
        return bool(waiting(connection, deployment) or _left(connection))


def waiting(connection: Connection, deployment: Deployment) -> list[Aggregate]:
    """What this release only adds, and readers don't see yet. Not what was given up, or would change a number."""
    seen = seen_versions(connection)
    runs = {(name, version): status for name, version, status in connection.execute(LAST_RUNS)}
    live = {(a.name, a.version): a for a in written(deployment)}
    return [
        a
        for a in aggregates()
        if live
        and seen.get(a.name) != a.version
        and runs.get((a.name, a.version)) not in SETTLED
        and _only_adds(a, seen, live)
    ]


def _only_adds(a: Aggregate, seen: dict[str, int], live: dict[tuple[str, int], Aggregate]) -> bool:
    if a.name not in seen:
        return True
    before = live.get((a.name, seen[a.name]))
    return before is not None and gained_only(before, a)


def upgrade(context: Context, engine: ComputeEngine, *, say: Say) -> None:
    """Hands over to all that waits, one after the other, and removes the versions before. Blocks.

    What was done before it was killed is not done again. Raises NotProven when a version computes other numbers than
    the one before, and what the steps of a replay raise; then readers see what they saw.
    """
    from flink import handover
    from insights.new_versions import hand_over
    from replay.promote import prune

    with context.postgres() as connection:
        found = waiting(connection, context.deployment)
    for a in found:
        say(f"{a.name}: adding version {a.version} with its history")
        hand_over(context, [a.name], engine, reason=None, by=BY, say=say)
    with context.postgres() as connection:
        left = _left(connection)
    if left:
        handover.retire_unseen(context.deployment, [name for names in left.values() for name in names])
    for run in left:
        prune(context, run)


def _left(connection: Connection) -> dict[str, list[str]]:
    """By run of ours that was promoted, its aggregates, where the version before is still there."""
    return dict(connection.execute(LEFT, (BY,)).fetchall())
