"""Runs one server of the stack in this process, in the foreground: the command of a container."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from insights import jars
from insights.settings import Settings
from insights.stack.flink_java import TO_CONSOLE
from insights.stack.part import Part, make_folders
from insights.stack.postgres import await_databases, postgres
from insights.stack.servers import jobmanager, kafka, registry, taskmanager
from insights.wiring import flink_home
from schemas.errors import Misconfigured

SERVERS: dict[str, Callable[[Settings], Part]] = {
    "kafka": kafka,
    "registry": registry,
    "postgres": postgres,
    "jobmanager": jobmanager,
    "taskmanager": taskmanager,
}


def serve(settings: Settings, name: str) -> NoReturn:
    """Become that server, as the stack runs it, but for its log: that is on its output, too.

    The registry first waits for Postgres.

    Raises Misconfigured for a name that none has, and what preparing the server does.
    """
    if name not in SERVERS:
        raise Misconfigured(f"there is no server {name}; there are {', '.join(SERVERS)}")
    make_folders(settings)
    if name in ("jobmanager", "taskmanager"):
        jars.link_flink(settings.jars, flink_home(), settings.flink_lib_dir, jars.of_servers(settings))
    part = SERVERS[name](settings)
    if name == "registry":
        await_databases(settings)
    if prepare := (jobmanager(settings) if name == "taskmanager" else part).prepare:
        prepare()  # the two halves of Flink have one configuration, which the first prepares
    os.chdir(part.cwd or settings.run_dir)
    os.execve(part.command[0], list(part.command), {**part.environment, **TO_CONSOLE})  # noqa: S606
