"""What tests of every folder share: one real stack for the whole run, and waiting with a deadline."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import hypothesis
import pytest

from insights.settings import Settings
from tests import watcher
from tests.kinds import STACK, fixture_of, group, is_of_a_stack, kind, place

T = TypeVar("T")
# How many inputs a fuzz test draws: few in a test run, many in `make fuzz`, which is `@pytest.mark.fuzz(inputs=…)`'s
# number where drawing one takes long. In all they are some minutes of one processor.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("fuzz", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile("default")
POLL_SECONDS = 0.1
# A checkpoint of a stack with nothing to do costs a third of a second of a processor; `Hub.checkpoint` has one taken.
CHECKPOINT_SECONDS = 5
RUN = pytest.StashKey[str]()
TURN = pytest.StashKey[IO[str]]()
# Below the range that the kernel hands out for outgoing connections: nobody takes one between this look and the bind.
PORT_RANGE = range(20_000, 32_000)


def pytest_configure(config: pytest.Config) -> None:
    """What this process starts from now on ends with it, be it by kill -9."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        config.option.log_file = f"test-results/pytest-{worker}.log"
    if not config.option.collectonly:
        of_run = os.environ.get(watcher.TAG, "")  # a worker's environment has the controller's
        own = watcher.watch()
        config.stash[RUN] = of_run if worker else own


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes go by the parameter's name: an archive holds the time of its making, and workers must name a test alike."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)  # xdist writes the groups into the names of the tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each test gets its kind and its group, the longest groups go first, and a fuzz test its number of inputs."""
    for item in items:
        item.add_marker(kind(item))
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: place(group(item)))
    if config.getoption("--hypothesis-profile") == "fuzz":
        _draw_many(items)


def _draw_many(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("fuzz")
        if mark is not None and "inputs" in mark.kwargs and isinstance(item, pytest.Function):
            item.obj = hypothesis.settings(max_examples=mark.kwargs["inputs"])(item.obj)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The run, not one of its workers, waits for its turn, and before any test's time begins to count."""
    if TURN not in node.config.stash and any(is_of_a_stack(id_.rpartition("@")[2]) for id_ in ids):
        node.config.stash[TURN] = _turn()
        node.config.add_cleanup(node.config.stash[TURN].close)


@pytest.hookimpl(trylast=True)  # after the test's own fixtures
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A worker's part of the run goes on without the run's one stack: it ends with the last test that uses it."""
    if "PYTEST_XDIST_WORKER" in os.environ and group(item) == STACK and (nextitem is None or group(nextitem) != STACK):
        fixture_of(item, "stack").finish(item._request)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody holds. Each worker looks in a range of its own."""
    found: list[int] = []
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    ports = PORT_RANGE[worker * len(PORT_RANGE) // workers : (worker + 1) * len(PORT_RANGE) // workers]
    start = random.randrange(len(ports) - 1_000)
    for port in ports[start:]:
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
    raise AssertionError(f"fewer than {count} free ports from {ports[start]} on")


def own_settings(home: Path, **overrides: Any) -> Settings:
    """Settings of a stack apart from all others: its own folder, its own ports. It lives for minutes."""
    names = Settings().ports().keys()
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    for_tests = {
        "quick_start": True,
        "dbt_minutes": 0,
        "canary": False,
        "checkpoint_interval_seconds": CHECKPOINT_SECONDS,
    }
    return Settings(home=home, **{**ports, **for_tests, **overrides})


def wait_until(
    condition: Callable[[], T | None], *, seconds: float = 60, what: str = "", every: float = POLL_SECONDS
) -> T:
    """The first true value of ``condition``. Fails, naming ``what``, when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not so after {seconds:.0f} s: {what or condition}; the last value was {value!r}")
        time.sleep(every)


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """``until(condition, seconds=60, what="…", every=0.1)``: poll until it is true, or fail."""
    return wait_until


@pytest.fixture
def apart() -> Callable[..., Settings]:
    """``apart(home, **overrides)``: settings of a stack apart from all others."""
    return own_settings


@pytest.fixture(scope="session")
def my_turn() -> Iterator[None]:
    """Held by a run while it has stacks of its own: two runs on one machine would starve each other into time-outs.

    With xdist the controller holds it for all workers.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        yield
        return
    with _turn():
        yield


def _turn() -> IO[str]:
    """The machine's one turn, until it is closed. Blocks until it is ours."""
    lock = (Path(tempfile.gettempdir()) / "insights-hub-tests.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@pytest.fixture(scope="session")
def shared_postgres(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The DSN of the run's one Postgres, for all workers: for a test that does not stop or configure its server."""
    from tests.replay.own_postgres import postgres_of_run

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return postgres_of_run(folder / "postgres-of-run", request.config.stash[RUN])


@pytest.fixture(scope="session")
def new_database(shared_postgres: str) -> Callable[[], str]:
    """``new_database()``: the DSN of an empty database on the run's Postgres."""
    import psycopg

    def make() -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(shared_postgres, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        return shared_postgres.rpartition("/")[0] + f"/{name}"

    return make


@contextmanager
def running_stack(home: Path) -> Iterator[Settings]:
    """The whole embedded stack without producers, live job included, from here until it is left."""
    # They take a second to load, which only tests that use them should pay.
    from insights import stack as embedded
    from insights.stack.control import StackNotUp

    settings = own_settings(home, idle_timeout_seconds=20)
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
    """The run's one stack; its settings have the place of everything."""
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as settings:
        yield settings


@pytest.fixture
def stack_environment(stack: Settings) -> dict[str, str]:
    """The environment variables that make `insights` speak to the session's stack."""
    return environment_of(stack)


def environment_of(settings: Settings) -> dict[str, str]:
    """Every setting as its variable."""
    return settings.environment()
