"""Makes one table's rows equal to another's, within ranges of windows, and writes only the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from aggregates.catalogue import Aggregate
from replay.compare import in_stretches, key_join, measures, name_of, same
from replay.plan_file import PlannedAggregate, Stretch
from schemas.binary import EPOCH
from warehouse.postgres import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What a swap wrote of one table."""

    removed: int
    added: int


def final_part(planned: PlannedAggregate) -> tuple[Stretch, ...]:
    """The stretches of the plan as far as they were final when it was made."""
    final = planned.final_until
    if final is None:
        return ()
    return tuple(
        Stretch(since=s.since, until=min(s.until or final, final))
        for s in planned.windows
        if (s.since or EPOCH) < final
    )


def swap(connection: Connection, a: Aggregate, target: str, source: str, stretches: Sequence[Stretch]) -> Swapped:
    """Makes the target's rows in the stretches those of the source, writing only what differs."""
    columns = sql.SQL(", ").join(map(sql.Identifier, a.columns))
    removed = connection.execute(
        sql.SQL(
            "delete from {target} as t where {inside} and not exists"
            " (select 1 from {source} as s where {on} and {same} and {inside_source})"
        ).format(
            target=name_of(target),
            source=name_of(source),
            inside=in_stretches("t", a, stretches),
            inside_source=in_stretches("s", a, stretches),
            on=key_join(a, "s", "t"),
            same=same(a, "s", "t", measures(a)),
        )
    ).rowcount
    added = connection.execute(
        sql.SQL(
            "insert into {target} ({columns}) select {columns} from {source} as s where {inside} and not exists"
            " (select 1 from {target} as t where {on})"
        ).format(
            target=name_of(target),
            source=name_of(source),
            columns=columns,
            inside=in_stretches("s", a, stretches),
            on=key_join(a, "s", "t"),
        )
    ).rowcount
    return Swapped(removed=removed, added=added)


def differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Change of each total, without those that did not change."""
    return {name: str(now[name] - was[name]) for name in now if now[name] != was[name]}
