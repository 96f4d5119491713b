from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.gate import access
from dashboards.gate.attempts import WINDOW_SECONDS
from dashboards.visitor import Role
from tests.gate.serving import Running, a_gate


@pytest.fixture(scope="module")
def cheap_passwords() -> Iterator[None]:
    """A check takes no time; test_access.py has one at its price."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "COST", (16, 8, 1))
        yield


@pytest.fixture(scope="module")
def shared_gate(cheap_passwords: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_gate(tmp_path_factory.mktemp("gate") / "page") as found:
        for name, role in (("vera", Role.VIEWER), ("anna", Role.ANALYST), ("otto", Role.OPERATOR)):
            found.put_user(name, role)
        yield found


@pytest.fixture
def gate(shared_gate: Running) -> Running:
    """After the attempts of other tests are forgotten."""
    shared_gate.clock.now += WINDOW_SECONDS + 1
    return shared_gate


@pytest.fixture
def secure(cheap_passwords: None, tmp_path: Path) -> Iterator[Running]:
    """Behind a proxy that encrypts."""
    with a_gate(tmp_path / "page", is_secure=True) as found:
        found.put_user("anna", Role.ANALYST)
        yield found
