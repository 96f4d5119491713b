"""Orphan files of a table in S3, where a listing names files otherwise than the table does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from tests.conftest import own_settings
from tests.own_s3 import s3_server
from warehouse.retention import remove, strays

ROWS = pa.table({"number": [1, 2]})


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with s3_server(tmp_path / "objects") as lake:
        storage = own_settings(tmp_path, **lake).lake_storage
        place = {"uri": f"sqlite:///{tmp_path}/catalog.sqlite", "warehouse": lake["external_lake"]}
        with closing(SqlCatalog("lake", **place, **storage)) as catalog:
            catalog.create_namespace("events")
            made = catalog.create_table("events.numbers", ROWS.schema)
            made.append(ROWS)
            yield catalog.load_table("events.numbers")


def test_an_orphan_is_found_and_removed_and_nothing_else(table: Table, tmp_path: Path) -> None:
    data = next((tmp_path / "objects").rglob("*.parquet"))
    orphan = data.with_name("orphan.parquet")
    orphan.write_bytes(b"of a job that was killed")
    os.utime(orphan, times=(0, 0))
    (found,) = strays(table, datetime.now(UTC) - timedelta(hours=1))
    assert found.path == f"{table.location()}/data/orphan.parquet"
    remove(table, found.path)
    assert not orphan.exists()
    assert strays(table, datetime.now(UTC) + timedelta(hours=1)) == []
    assert table.scan().to_arrow() == ROWS
