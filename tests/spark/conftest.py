from __future__ import annotations

import pytest

from tests.spark.process import SparkProcess, shared_spark


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest) -> SparkProcess:
    """The replay's job, in a Java process next to the tests."""
    return shared_spark(request.config)
