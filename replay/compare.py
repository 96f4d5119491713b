"""Two tables of one aggregate, cell by cell: in SQL, within Postgres, over a full outer join on the key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from aggregates.catalogue import Aggregate
from replay.plan_file import Stretch
from schemas.errors import Misconfigured
from warehouse.columns import POSTGRES
from warehouse.postgres import Connection

SHOWN = 5
Composed = sql.Composed | sql.SQL | sql.Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that is not the same on both sides; a side is None where it has no such row."""

    key: dict[str, Any]
    here: dict[str, Any] | None
    there: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows by key. ``here`` is what a replay computed, ``there`` what readers see; ``columns`` counts unequal cells.

    ``rows`` are those on either side: equal + different + only here + only there + excluded.
    """

    rows: int
    equal: int
    different: int
    only_here: int
    only_there: int
    excluded: int
    columns: dict[str, int]
    first: tuple[Difference, ...]

    @classmethod
    def of_nothing(cls) -> Comparison:
        """Of a table with none: there are no rows to compare."""
        none = dict.fromkeys(("rows", "equal", "different", "only_here", "only_there", "excluded"), 0)
        return cls(**none, columns={}, first=())

    @property
    def mismatches(self) -> int:
        """Rows that differ or that only one side has."""
        return self.different + self.only_here + self.only_there


def comparable(connection: Connection, a: Aggregate, relation: str) -> Aggregate:
    """The aggregate with those of its columns alone that the relation has too, of the same type.

    Raises Misconfigured when the relation lacks a column of the key: then no row of one is a row of the other.
    """
    rows = connection.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        (relation,),
    ).fetchall()
    there = set(rows)
    both = {name: column for name, column in a.columns.items() if (name, POSTGRES[column.type]) in there}
    if missing := [name for name in a.key if name not in both]:
        raise Misconfigured(
            f"version {a.version} of {a.name} has {', '.join(missing)} in its key and {relation} has not, or of another"
            " type: their rows can't be compared. Give an aggregate with another grain another name"
        )
    return replace(a, columns=both)


def name_of(table: str) -> sql.Identifier:
    """``schema.table`` as an identifier."""
    return sql.Identifier(*table.split("."))


def in_stretches(alias: str, a: Aggregate, stretches: Iterable[Stretch]) -> Composed:
    """A condition: the row's window starts within one of the stretches."""
    moment = sql.Identifier(alias, a.moment)
    found = [
        sql.SQL("({})").format(
            sql.SQL(" and ").join(
                [
                    *([sql.SQL("{} >= {}").format(moment, sql.Literal(s.since))] if s.since else []),
                    *([sql.SQL("{} < {}").format(moment, sql.Literal(s.until))] if s.until else []),
                ]
            )
        )
        for s in stretches
        if s.since or s.until
    ]
    everything = any(s.since is None and s.until is None for s in stretches)
    if everything:
        return sql.SQL("true")
    return sql.SQL("({})").format(sql.SQL(" or ").join(found)) if found else sql.SQL("false")


def same(a: Aggregate, left: str, right: str, columns: Sequence[str]) -> Composed:
    """A condition: the columns are the same on both sides, null being the same as null."""

    def row(alias: str) -> Composed:
        return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)

    return sql.SQL("({}) is not distinct from ({})").format(row(left), row(right)) if columns else sql.SQL("true")


def key_join(a: Aggregate, left: str, right: str) -> Composed:
    """A condition: it is the same row. No key column is ever null."""
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, name), sql.Identifier(right, name)) for name in a.key
    )


def measures(a: Aggregate) -> list[str]:
    """All columns but the key's."""
    return [name for name in a.columns if name not in a.key]


def compare(
    connection: Connection,
    a: Aggregate,
    here: str,
    there: str,
    stretches: Sequence[Stretch],
    touched: str | None = None,
    touched_from: datetime | None = None,
) -> Comparison:
    """Every row of both whose window lies in the stretches, but those whose key stands in the table ``touched``.

    Windows that start before ``touched_from`` are never left out.
    """
    joined = _joined(a, here, there, stretches, touched, touched_from)
    counts = sql.SQL(
        """
        with joined as ({joined})
        select
            count(*),
            count(*) filter (where not is_excluded and here and there and is_same),
            count(*) filter (where not is_excluded and here and there and not is_same),
            count(*) filter (where not is_excluded and here and not there),
            count(*) filter (where not is_excluded and there and not here),
            count(*) filter (where is_excluded)
            {columns}
        from joined
        """
    ).format(joined=joined, columns=sql.SQL("").join(_unequal(name) for name in measures(a)))
    row = connection.execute(counts).fetchone() or ()
    rows, equal, different, only_here, only_there, excluded, *by_column = (int(value) for value in row)
    unequal = {name: count for name, count in zip(measures(a), by_column, strict=True) if count}
    found = Comparison(
        rows=rows,
        equal=equal,
        different=different,
        only_here=only_here,
        only_there=only_there,
        excluded=excluded,
        columns=unequal,
        first=(),
    )
    if not found.mismatches:
        return found
    first = tuple(_first(connection, a, joined))
    return Comparison(**{**{name: getattr(found, name) for name in found.__slots__}, "first": first})


def _unequal(name: str) -> Composed:
    return sql.SQL(", count(*) filter (where not is_excluded and here and there and {} is distinct from {})").format(
        sql.Identifier(f"here.{name}"), sql.Identifier(f"there.{name}")
    )


def _joined(
    a: Aggregate,
    here: str,
    there: str,
    stretches: Sequence[Stretch],
    touched: str | None,
    touched_from: datetime | None,
) -> Composed:
    def side(table: str, alias: str) -> Composed:
        return sql.SQL("(select *, true as is_there from {} as s where {}) as {}").format(
            name_of(table), in_stretches("s", a, stretches), sql.Identifier(alias)
        )

    columns = [
        *(sql.SQL("{} as {}").format(_either(name), sql.Identifier(name)) for name in a.key),
        *(sql.SQL("{} as {}").format(sql.Identifier("h", n), sql.Identifier(f"here.{n}")) for n in measures(a)),
        *(sql.SQL("{} as {}").format(sql.Identifier("t", n), sql.Identifier(f"there.{n}")) for n in measures(a)),
    ]
    excluded: sql.Composable = sql.SQL("x.is_touched is true" if touched else "false")
    if touched and touched_from:
        excluded = sql.SQL("({} >= {} and {})").format(_either(a.moment), sql.Literal(touched_from), excluded)
    return sql.SQL(
        "select {columns}, h.is_there is true as here, t.is_there is true as there, {same} as is_same,"
        " {excluded} as is_excluded from {left} full outer join {right} on {on}{left_out}"
    ).format(
        columns=sql.SQL(", ").join(columns),
        same=same(a, "h", "t", measures(a)),
        excluded=excluded,
        left=side(here, "h"),
        right=side(there, "t"),
        on=key_join(a, "h", "t"),
        left_out=_touched(a, touched) if touched else sql.SQL(""),
    )


def _either(name: str) -> Composed:
    """A column of the row here, or of the one there when there is none here."""
    return sql.SQL("coalesce({}, {})").format(sql.Identifier("h", name), sql.Identifier("t", name))


def _touched(a: Aggregate, touched: str) -> Composed:
    """Joined, and not asked of each row: Postgres may read the whole table for each otherwise."""
    keys = sql.SQL(", ").join(map(sql.Identifier, a.key))
    on = sql.SQL(" and ").join(sql.SQL("{} = {}").format(sql.Identifier("x", n), _either(n)) for n in a.key)
    return sql.SQL(" left join (select distinct {}, true as is_touched from {}) as x on {}").format(
        keys, name_of(touched), on
    )


def _first(connection: Connection, a: Aggregate, joined: Composed) -> Iterable[Difference]:
    key = sql.SQL(", ").join(map(sql.Identifier, a.key))
    query = sql.SQL(
        "with joined as ({joined}) select * from joined"
        " where not is_excluded and not (here and there and is_same) order by {key} limit {limit}"
    ).format(joined=joined, key=key, limit=sql.Literal(SHOWN))
    cursor = connection.execute(query)
    names = [column.name for column in cursor.description or ()]
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        yield Difference(
            key={name: row[name] for name in a.key}, here=_side(a, row, "here"), there=_side(a, row, "there")
        )


def _side(a: Aggregate, row: Mapping[str, Any], side: str) -> dict[str, Any] | None:
    return {name: row[f"{side}.{name}"] for name in measures(a)} if row[side] else None


def canonical_hash(connection: Connection, a: Aggregate, table: str, stretches: Sequence[Stretch]) -> tuple[int, str]:
    """(rows, SHA-256) of ``canonical_rows``."""
    digest = hashlib.sha256()
    with connection.cursor() as cursor:
        for block in canonical_rows(cursor, a, table, stretches):
            digest.update(block)
        return cursor.rowcount, digest.hexdigest()


def canonical_rows(
    cursor: psycopg.Cursor[Any], a: Aggregate, table: str, stretches: Sequence[Stretch]
) -> Iterator[bytes]:
    """A table's rows as CSV, ordered by key, times in UTC: the same for every engine. In blocks, not in lines."""
    columns = sql.SQL(", ").join(map(sql.Identifier, a.columns))
    order = sql.SQL(", ").join(
        sql.SQL('{} collate "C"').format(sql.Identifier(n)) if a.columns[n].type == "string" else sql.Identifier(n)
        for n in a.key
    )
    query = sql.SQL("copy (select {} from {} as s where {} order by {}) to stdout with (format csv)").format(
        columns, name_of(table), in_stretches("s", a, stretches), order
    )
    with cursor.copy(query) as copy:
        yield from map(bytes, copy)


def totals(connection: Connection, a: Aggregate, table: str, stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Rows, and the sum of every measure that is a number."""
    numbers = [n for n in measures(a) if a.columns[n].type in ("int", "count", "money", "double")]
    sums = sql.SQL("").join(sql.SQL(", coalesce(sum({}), 0)").format(sql.Identifier(n)) for n in numbers)
    query = sql.SQL("select count(*){} from {} as s where {}").format(
        sums, name_of(table), in_stretches("s", a, stretches)
    )
    rows, *values = connection.execute(query).fetchone() or (0,)
    return {"rows": rows, **dict(zip(numbers, values, strict=True))}
