"""Which of several states of one thing counts, and when, as SQL for Flink and DuckDB; spark/job.py has it for Spark.

An order counts at the time at which it was placed, its event's own. By payment it counts when it was paid in full, and
nowhere before. Two kinds of orders count when they were placed all the same: those of a source that never says when
an order is paid, and those that have one state for ever and do not say so in it. One that was paid before it was
placed counts when it was placed: so no order ever counts before its event's own time, by which events are late.

A refund counts by the same rule, of its own time and its order's payment: on its own day, or on that of the payment if
the order was paid after it, and nowhere while the order is not paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.catalogue import Versions

PLACED = "placed_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPayment:
    """That orders and their refunds count once they are paid. ``undated`` are the sources that never say so."""

    undated: tuple[str, ...] = ()


def newest(
    relation: str, columns: Sequence[str], versions: Versions | None, quoted: Callable[[str], str], order: str = ""
) -> str:
    """A query for the records of a relation that count: the newest state of each thing, unless that is void.

    Of two states with one version the one with the greater event_id is the newer; ``order`` is an engine's own way to
    sort them so. Records without a version, which are all of most topics, take no part in it and cost nothing.
    """
    selected = ", ".join(map(quoted, columns))
    if versions is None:
        return f"select {selected} from {relation}"
    by = quoted(versions.by)
    order = order or f"{by} desc, {quoted('event_id')} desc"
    counts = f"not coalesce({quoted(versions.void)}, false)"
    things = ", ".join(map(quoted, versions.of))
    return (
        f"select {selected} from (\n"
        f"  select *, row_number() over (partition by {things}"
        f" order by {order}) as newness\n"
        f"  from {relation} where {by} is not null\n"
        f") where newness = 1 and {counts}\n"
        f"union all\n"
        f"select {selected} from {relation} where {by} is null and {counts}"
    )


def paid_at(versions: Versions, rule: ByPayment, quoted: Callable[[str], str]) -> str:
    """When a record counts by payment, as an expression; null while it counts nowhere."""
    assert versions.paid is not None
    paid, placed = quoted(versions.paid), quoted("occurred_at")
    undated = ", ".join("'" + name.replace("'", "''") + "'" for name in rule.undated)
    of_undated = f" or {quoted('source')} in ({undated})" if undated else ""
    return (
        f"case when {paid} > {placed} then {paid} when {paid} is not null then {placed}"
        f" when {quoted(versions.by)} is null{of_undated} then {placed} end"
    )


def when_paid(
    query: str, columns: Sequence[str], versions: Versions, rule: ByPayment, quoted: Callable[[str], str]
) -> str:
    """A query for those of another's records that count by payment.

    ``occurred_at`` is when each does, and PLACED, a column more, its event's own time.
    """
    at = quoted("counted at")
    selected = ", ".join(f"{at} as {quoted(name)}" if name == "occurred_at" else quoted(name) for name in columns)
    return (
        f"select {selected}, {quoted('occurred_at')} as {quoted(PLACED)} from (\n"
        f"  select *, {paid_at(versions, rule, quoted)} as {at} from (\n{query}\n)\n"
        f") where {at} is not null"
    )
