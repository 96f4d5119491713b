"""What a replay's plan names as touched: models and dashboards, by way of others too."""

from __future__ import annotations

from pathlib import Path

from replay.downstream import downstream

TEXTS = {
    Path("stg_sales.sql"): "select day from {{ source('live', 'sales_per_minute') }}",
    Path("stg_sessions.sql"): 'select day from {{ source( "live", "sessions" ) }}',
    Path("daily_sales.sql"): "select day from {{ ref('stg_sales') }}",
    Path("sales_per_minute_of_old.sql"): "select day from {{ ref('daily_sales') }}",
    Path("other.sql"): "select 1 from {{ ref('stg_sales_too') }}, {{ source('live', 'sales_per_minute_v2') }}",
    Path("sales.yaml"): "sql: select net from marts.daily_sales",
    Path("live.yaml"): "sql: select net from live.sales_per_minute",
    Path("web.yaml"): "sql: select n from marts.sessions, live.sales_per_minute_v2",
}


def test_a_table_reaches_models_of_models_and_the_dashboards_on_them() -> None:
    assert [path.name for path in downstream(["live.sales_per_minute"], TEXTS)] == [
        "daily_sales.sql",
        "live.yaml",
        "sales.yaml",
        "sales_per_minute_of_old.sql",
        "stg_sales.sql",
    ]


def test_a_table_that_nothing_reads_reaches_nothing() -> None:
    assert downstream(["live.sales"], TEXTS) == ()
    assert downstream([], TEXTS) == ()


def test_models_that_read_each_other_are_named_once() -> None:
    texts = {Path("a.sql"): "{{ source('live', 'x') }} {{ ref('b') }}", Path("b.sql"): "{{ ref('a') }}"}
    assert [path.name for path in downstream(["live.x"], texts)] == ["a.sql", "b.sql"]
