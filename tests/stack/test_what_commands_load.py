"""What a command loads is what it costs: most of the processor time of a look is the import of libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from insights import stack
from tests.conftest import environment_of, own_settings

# Each of them, or what it brings, takes a tenth of a second or more to load.
LAKE = {"pyiceberg.catalog", "pyiceberg.table", "sqlalchemy", "pyarrow", "duckdb", "pandas", "numpy"}
SERVERS = {"jgo", "quixstreams", "streamlit", "altair", "boto3", "aiohttp"}
REGISTRY = {"confluent_kafka.schema_registry", "authlib", "httpx"}
HTTP = {"requests"}
POSTGRES = {"psycopg"}
# The module count reveals libraries that are not named here; a new small module of ours fits in.
NOTHING = LAKE | SERVERS | REGISTRY | HTTP | POSTGRES
RUN = """
import json, sys
from insights.cli.main import main
try:
    main()
finally:
    with open(sys.argv.pop(), "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def loaded_by(arguments: list[str], folder: Path) -> set[str]:
    """Modules in memory at the end of a command, where no server of the stack runs."""
    told = folder / "modules.json"
    # The file's name comes last: after the end of the command's own arguments, which typer takes from sys.argv.
    done = subprocess.run(
        [sys.executable, "-c", RUN.replace("sys.argv.pop()", repr(str(told))), *arguments],
        env={**os.environ, **environment_of(own_settings(folder / "home"))},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.exists(), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return set(json.loads(told.read_text()))


@pytest.mark.parametrize(
    ("command", "unwanted", "at_most"),
    [
        ("--help", NOTHING, 540),
        ("replay --help", NOTHING, 540),
        ("status --help", NOTHING, 540),
        ("produce --help", LAKE | REGISTRY | POSTGRES | HTTP, 700),
        ("logs kafka", NOTHING - POSTGRES, 700),
        # What only asks Postgres.
        ("replay list", LAKE | SERVERS | REGISTRY | HTTP, 700),
        ("replay show r1", LAKE | SERVERS | REGISTRY | HTTP, 700),
        ("alerts list", LAKE | SERVERS | REGISTRY, 900),
        ("alerts check", LAKE | SERVERS | REGISTRY, 900),
        # And others that look.
        ("schemas list", LAKE | SERVERS | POSTGRES, 1000),
        ("flink list", LAKE | SERVERS | REGISTRY, 900),
        ("doctor", LAKE | SERVERS | REGISTRY, 900),
        ("status", LAKE | SERVERS | REGISTRY, 930),
        ("status --json", LAKE | SERVERS | REGISTRY, 930),
        # pandas comes with pyarrow.dataset, which reads the lake.
        ("replay plan --all --from-beginning", {"streamlit", "jgo", *REGISTRY}, 1260),
    ],
)
def test_a_command_loads_what_it_needs_and_no_more(
    command: str, unwanted: set[str], at_most: int, tmp_path: Path
) -> None:
    loaded = loaded_by(command.split(), tmp_path)
    print(len(loaded))
    assert sorted(loaded & unwanted) == []
    assert len(loaded) <= at_most


def test_an_order_file_loads_no_simulated_people_and_no_metrics(tmp_path: Path) -> None:
    file = tmp_path / "orders.txt"
    file.write_text("customer_id date number_of_cds dollar_value\n1 19970101 1 11.77\n")
    arguments = ["produce", "orders", "--from-file", str(file), "--mapping", "cdnow", "--check"]
    loaded = loaded_by(arguments, tmp_path)
    assert "producers.order_file.orders" in loaded
    assert not {"faker", "prometheus_client", "charset_normalizer", *SERVERS} & loaded


def test_what_the_stack_loads_when_it_is_asked_for_is_where_it_looks() -> None:
    assert [name for name in stack.__all__ if not getattr(stack, name, None)] == []
