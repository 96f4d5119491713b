"""What an error of a source quotes: its keys, its passwords and its customers are not said."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from producers.pipelines import source as pipelines
from producers.pipelines.secrets import without_secrets
from producers.pipelines.source import SourceFailed
from producers.runner import Options, Run, Stop
from producers.sources import source
from tests.producers.pipelines.conftest import Pipeline


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("url: /orders?since=&api_key=TOPSECRET (Caused by x)", "url: /orders?… (Caused by x)"),
        ("at postgresql://reader:hunter@2@db/shop now", "at postgresql://…@db/shop now"),
        ("Authorization: Bearer abc.def", "Authorization=…"),
        ("password=hunter2 host=db", "password=… host=db"),
        ("row: ada@example.com is odd", "row: … is odd"),
        ("wrong\nDETAIL: Key (name)=(Ada) exists", "wrong\n…"),
        ("odd [SQL: select 1]\n[parameters: {'name': 'Ada'}]", "odd [SQL: select 1]\n…"),
        ('relation "hub_orders" does not exist', 'relation "hub_orders" does not exist'),
    ],
)
def test_secrets_are_left_out_of_a_message(message: str, said: str) -> None:
    assert without_secrets(message) == said


FILE = """
import dlt

NAME = "bikes"
EVENTS = {"rows": "sales.order_placed"}

def read():
    @dlt.resource(name="rows", primary_key="order_id")
    def rows():
        raise ValueError("GET /orders?api_key=TOPSECRET: row {'name': 'Ada Example', 'mail': 'ada@example.com'}")
        yield

    return rows
"""


def test_neither_an_error_nor_the_log_has_a_key_and_the_log_has_no_text_of_a_row(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, FILE)
    with pytest.raises(SourceFailed, match="the source can't be read .extract.: ") as failed:
        pipeline.read()
    assert "TOPSECRET" not in str(failed.value)
    assert "ada@" not in str(failed.value)
    kept = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not any(b"TOPSECRET" in content for content in kept)

    class Once(Stop):
        """Ends after one reading."""

        def wait(self, seconds: float) -> bool:
            return True

    options = Options(state=tmp_path / "state", pipeline=pipeline.file, every=timedelta(minutes=1))
    with structlog.testing.capture_logs() as log:
        pipelines.run(
            Run(source=source("dlt"), options=options, publisher=pipeline.log, stop=Once(), log=structlog.get_logger())
        )
    (said,) = [each["problem"] for each in log if each["event"] == "not read"]
    assert not [secret for secret in ("TOPSECRET", "Ada", "ada@") if secret in said]
