"""What tests of every folder share: one real stack for the whole run, and waiting with a deadline."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

from insights.settings import Settings
from tests import watcher

T = TypeVar("T")
# How many inputs a fuzz test draws: few in a test run, many in `make fuzz`, which is `@pytest.mark.fuzz(inputs=…)`'s
# number where drawing one takes long. In all they are some minutes of one processor.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("fuzz", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile("default")
POLL_SECONDS = 0.1
# Below the range that the kernel hands out for outgoing connections: nobody takes one between this look and the bind.
PORT_RANGE = range(20_000, 32_000)


def pytest_configure(config: pytest.Config) -> None:
    """What this process starts from now on ends with it, be it by kill -9."""
    if not config.option.collectonly:
        watcher.watch()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In `make fuzz` each test draws as many inputs as its mark says."""
    if config.getoption("--hypothesis-profile") != "fuzz":
        return
    for item in items:
        mark = item.get_closest_marker("fuzz")
        if mark is not None and "inputs" in mark.kwargs and isinstance(item, pytest.Function):
            item.obj = hypothesis.settings(max_examples=mark.kwargs["inputs"])(item.obj)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody holds."""
    found: list[int] = []
    start = random.randrange(PORT_RANGE.start, PORT_RANGE.stop - 1_000)
    for port in range(start, PORT_RANGE.stop):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"fewer than {count} free ports from {start} on")


def own_settings(home: Path, **overrides: Any) -> Settings:
    """Settings of a stack apart from all others: its own folder, its own ports."""
    names = Settings().ports().keys()
    return Settings(home=home, **{**dict(zip(names, free_ports(len(names)), strict=True)), **overrides})


def wait_until(condition: Callable[[], T | None], *, seconds: float = 60, what: str = "") -> T:
    """The first true value of ``condition``. Fails, naming ``what``, when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not so after {seconds:.0f} s: {what or condition}; the last value was {value!r}")
        time.sleep(POLL_SECONDS)


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """``until(condition, seconds=60, what="…")``: poll until it is true, or fail."""
    return wait_until


@pytest.fixture
def apart() -> Callable[..., Settings]:
    """``apart(home, **overrides)``: settings of a stack apart from all others."""
    return own_settings


@pytest.fixture(scope="session")
def my_turn() -> Iterator[None]:
    """Held by a run while it has stacks of its own: two runs on one machine would starve each other into time-outs."""
    with (Path(tempfile.gettempdir()) / "insights-hub-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def running_stack(home: Path) -> Iterator[Settings]:
    """The whole embedded stack without producers, live job included, from here until it is left."""
    # They take a second to load, which only tests that use them should pay.
    from insights import stack as embedded
    from insights.stack.control import StackNotUp

    settings = own_settings(home, checkpoint_interval_seconds=2)
    steps: list[str] = []
    try:
        embedded.up(
            settings,
            embedded.UpPlan(daemons=False),
            lambda step: steps.append(f"{step.name} {step.state} {step.detail}"),
        )
        yield settings
    except StackNotUp as error:
        pytest.fail(f"the stack did not come up: {error}\n" + "\n".join(steps[-20:]))
    finally:
        embedded.down(settings, lambda step: None)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Settings]:
    """The run's one stack; its settings say where everything is."""
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as settings:
        yield settings


@pytest.fixture
def stack_environment(stack: Settings) -> dict[str, str]:
    """The environment variables that make `insights` speak to the session's stack."""
    return environment_of(stack)


def environment_of(settings: Settings) -> dict[str, str]:
    """Every setting as its variable."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {Settings.variable(name): str(value) for name, value in values.items()}
