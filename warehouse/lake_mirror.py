"""A copy of a Postgres table in the lake: creates its columns, types and comments, or updates them to match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from pyiceberg import types as iceberg
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform

from schemas.errors import Misconfigured
from warehouse.postgres import Connection
from warehouse.retention import PUBLISHED
from warehouse.tables import LAKE_PROPERTIES, partitioning
from warehouse.versions import COLUMNS

# Any number that no column has: the catalog numbers them itself.
LIST_ELEMENT = 10_000
TYPES: dict[str, iceberg.IcebergType] = {
    # Athena makes neither table nor view with a time that has a zone, so the marts could not hold what they read here.
    "timestamp with time zone": iceberg.TimestampType(),
    "date": iceberg.DateType(),
    "text": iceberg.StringType(),
    "bytea": iceberg.BinaryType(),
    "integer": iceberg.IntegerType(),
    "bigint": iceberg.LongType(),
    "boolean": iceberg.BooleanType(),
    "double precision": iceberg.DoubleType(),
    # Athena has functions for JSON in text, and no type for it in a table.
    "jsonb": iceberg.StringType(),
    "text[]": iceberg.ListType(LIST_ELEMENT, iceberg.StringType(), element_required=False),
}
PROPERTIES = {"format-version": "2", **LAKE_PROPERTIES, PUBLISHED: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of Postgres, with the lake's type for it. Nullability is unknown: a view does not have it."""

    name: str
    postgres: str
    doc: str

    @property
    def kind(self) -> iceberg.IcebergType:
        """The lake's type. Raises LookupError when there is none."""
        if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", self.postgres):
            return iceberg.DecimalType(int(found[1]), int(found[2]))
        return TYPES[self.postgres]

    @property
    def expression(self) -> sql.Composable:
        """What is selected."""
        name = sql.Identifier(self.name)
        match self.postgres:
            case "jsonb":
                return sql.SQL("{}::text").format(name)
            case "timestamp with time zone":
                return sql.SQL("{} at time zone 'UTC'").format(name)
            case _:
                return name


def columns_of(connection: Connection, relation: str) -> list[Column]:
    """Columns of a table or view; none when it is not there. Raises Misconfigured for a type that the lake has not."""
    rows = connection.execute(COLUMNS, (relation,)).fetchall()
    found = [Column(name=name, postgres=kind, doc=doc or "") for name, kind, doc in rows]
    for column in found:
        try:
            _ = column.kind
        except LookupError:
            raise Misconfigured(
                f"{relation}.{column.name} is {column.postgres}, which has no counterpart in the lake: use a type that"
                " warehouse/lake_mirror.py supports, or add it there"
            ) from None
    return found


def make_or_bring_up(catalog: Catalog, name: str, columns: Sequence[Column], *, day: str | None = None) -> Table:
    """The table of this name with these columns, in days of ``day`` where one is named.

    When the columns of an existing one differ, they are replaced, and the note of what it was made from is removed: the
    next commit brings all rows. Raises Misconfigured when it is not partitioned by such days.
    """
    schema = _schema(columns)
    try:
        table = catalog.load_table(name)
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(name.split(".")[0])
        return catalog.create_table(name, schema, partition_spec=_days(schema, day), properties=PROPERTIES)
    _exchange_columns(table, schema)
    specs = ((table.schema(), table.spec()), (schema, _days(schema, day)))
    there, wanted = (", ".join(partitioning(s, spec)) for s, spec in specs)
    if there != wanted:
        raise Misconfigured(
            f"the lake's table {name} is partitioned by {there or 'nothing'} and should be by {wanted or 'nothing'}; "
            "nothing was copied into it. Drop it, and copy again"
        )
    return table


def _schema(columns: Sequence[Column]) -> Schema:
    return Schema(*(iceberg.NestedField(i, c.name, c.kind, doc=c.doc) for i, c in enumerate(columns, 1)))


def _days(schema: Schema, moment: str | None) -> PartitionSpec:
    if moment is None:
        return UNPARTITIONED_PARTITION_SPEC
    return PartitionSpec(PartitionField(schema.find_field(moment).field_id, 1000, DayTransform(), f"{moment}_day"))


def _exchange_columns(table: Table, schema: Schema) -> None:
    there, wanted = ({f.name: _kind(f.field_type) for f in s.fields} for s in (table.schema(), schema))
    gone = [name for name, kind in there.items() if wanted.get(name) != kind]
    new = [field for field in schema.fields if there.get(field.name) != wanted[field.name]]
    if not gone and not new:
        return
    with table.transaction() as transaction:
        transaction.set_properties({PUBLISHED: ""})
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            for name in gone:
                update.delete_column(name)
        with transaction.update_schema() as update:
            for field in new:
                update.add_column(field.name, field.field_type, field.doc)


def _kind(kind: iceberg.IcebergType) -> str:
    """Without the numbers that a catalog gives."""
    return "list" if isinstance(kind, iceberg.ListType) else str(kind)
