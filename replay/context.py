"""The servers and files that a replay uses. Made from settings by `insights`; nothing here reads the environment.

The libraries of the lake and of the registry are loaded when they are opened: most commands need only Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from replay.lake_files import open_catalog
from replay.log import Log
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from schemas.registry import Registry

Say = Callable[[str], None]
"""Called with a few words on what is being done or waited for."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """One deployment, the folder for what runs leave behind, and the version of the code (a git commit, or unknown).

    ``texts`` are files that may read the tables: dashboards and models.
    """

    deployment: Deployment
    work_dir: Path
    code: str
    texts: tuple[Path, ...]

    def run_dir(self, run: str) -> Path:
        """Folder of a run's task and results."""
        return self.work_dir / run

    @cached_property
    def log(self) -> Log:
        return Log(self.deployment.kafka)

    @cached_property
    def registry(self) -> Registry:
        from schemas.registry import Registry  # half a second to load, which only decoding needs

        return Registry(self.deployment.registry)

    @contextmanager
    def postgres(self) -> Iterator[Connection]:
        """A connection, committed at the end. Raises Retryable when Postgres is away."""
        with connected(self.deployment) as connection:
            connection.execute("set time zone 'UTC'")
            yield connection

    @contextmanager
    def lake(self) -> Iterator[Catalog]:
        """The lake's catalog. Raises Retryable when it can't be reached."""
        with open_catalog(self.deployment.lake_properties) as catalog:
            yield catalog
