from __future__ import annotations

import pytest

from tests.flink.process import FlinkProcess, shared_flink
from tests.spark.process import SparkProcess, shared_spark


@pytest.fixture(scope="session")
def flink(request: pytest.FixtureRequest) -> FlinkProcess:
    """Plans and runs SQL in a Java process next to the tests."""
    return shared_flink(request.config)


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest) -> SparkProcess:
    """The replay's job, in a Java process next to the tests."""
    return shared_spark(request.config)
