"""Estimates the duration and cost of a replay from earlier replays on this stack."""

from __future__ import annotations

from replay.context import Context
from replay.plan_file import Estimate
from warehouse.postgres import Connection

# Before a run was measured here: records a second, and seconds until the first is read.
FIRST_GUESS = {"local": (60_000.0, 12.0), "duckdb": (200_000.0, 1.0)}
RATE = """
select percentile_cont(0.5) within group (order by records / greatest(compute_seconds - %s, 0.5))
from (
    select records, compute_seconds from ops.replays
    where engine = %s and computed_at is not null and records >= 10000
    order by created_at desc limit 10
) as newest
"""
# EMR Serverless, us-east-1, x86, November 2026: US dollars an hour, for a vCPU and for a GB of memory.
EMR_VCPU_HOUR, EMR_GB_HOUR = 0.052624, 0.0057785
EMR_VCPUS, EMR_GB = 12, 48


def estimate(context: Context, records: int) -> Estimate:
    """Estimate for a replay of this many records. Raises Retryable when Postgres is away."""
    with context.postgres() as connection:
        seconds = {name: _seconds(connection, name, records) for name in ("local", "duckdb")}
    hours = max(seconds["local"], 60.0) / 3600
    return Estimate(
        spark_seconds=round(seconds["local"], 1),
        duckdb_seconds=round(seconds["duckdb"], 1),
        emr_usd=round(hours * (EMR_VCPUS * EMR_VCPU_HOUR + EMR_GB * EMR_GB_HOUR), 4),
    )


def _seconds(connection: Connection, engine: str, records: int) -> float:
    """By the median rate of the engine's last runs here; a guess before there were any."""
    rate, start = FIRST_GUESS[engine]
    row = connection.execute(RATE, (start, engine)).fetchone()
    rate = float(row[0]) if row and row[0] else rate
    return start + records / rate
