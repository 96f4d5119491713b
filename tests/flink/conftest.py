from __future__ import annotations

import pytest

from tests.flink.process import FlinkProcess, shared_flink


@pytest.fixture(scope="session")
def flink(request: pytest.FixtureRequest) -> FlinkProcess:
    """Plans and runs SQL in a Java process next to the tests."""
    return shared_flink(request.config)
