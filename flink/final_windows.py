"""Which windows are final, according to the watermarks in ops.finality.

Queries only Postgres; flink/finality.py writes ops.finality.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Aggregate, aggregates
from flink.live_job import is_new, written
from warehouse.deployment import Deployment
from warehouse.postgres import connected

REACHED = """
select f.aggregate, v.version, f.watermark
from ops.finality as f join ops.versions as v on v.aggregate = f.aggregate and v.since is not null
"""


def final_until(aggregate: Aggregate, watermark: datetime, horizon_hours: int) -> datetime:
    """Windows of ``aggregate`` that end by this time can't change any more."""
    return watermark - timedelta(hours=horizon_hours + aggregate.overrun_hours)


def known_final_until(deployment: Deployment, aggregate: Aggregate) -> datetime | None:
    """Up to when windows of ``aggregate`` are final; None when that is not known.

    Of one that no live job computes yet it is known by how far its topics have been read for others: what comes later
    for such a window is late, for every aggregate. Raises Retryable when Postgres is away.
    """
    with connected(deployment) as connection:
        row = connection.execute(
            "select final_until from ops.finality where aggregate = %s", (aggregate.name,)
        ).fetchone()
    if row and not is_new(deployment, aggregate.name):
        return datetime.fromtimestamp(row[0].timestamp(), UTC)
    reached = floors(deployment)
    if any(name not in reached for name in aggregate.inputs):
        return None
    return final_until(aggregate, min(reached[name] for name in aggregate.inputs), deployment.horizon_hours)


def floors(deployment: Deployment) -> dict[str, datetime]:
    """By event name, the watermark that all partitions of its topic had reached when a checkpoint last was complete.

    An aggregate's is that of the slowest of its topics, so each of them was at least there. Raises Retryable when
    Postgres is away.
    """
    with connected(deployment) as connection:
        reached = {(name, version): at for name, version, at in connection.execute(REACHED)}
    found: dict[str, datetime] = {}
    # As they are deployed: a folder may read another topic by now.
    for aggregate in written(deployment) or aggregates():
        if at := reached.get((aggregate.name, aggregate.version)):
            found |= {name: max(at, found.get(name, at)) for name in aggregate.inputs}
    return found
