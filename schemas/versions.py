"""Which of several states of one thing counts, as SQL for Flink and DuckDB; spark/job.py has the same for Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schemas.catalogue import Versions


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
