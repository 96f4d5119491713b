"""Flink's processes are started as its own scripts would start them, without the scripts."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from insights.java import java_home
from insights.settings import Settings
from insights.stack.flink_java import CLASSES, arguments_file, configure, flink_environment
from insights.stack.part import ServerSetupFailed
from insights.stack.servers import flink_options
from insights.wiring import flink_home

pytestmark = pytest.mark.engine
# Java, but for a server: its arguments are written down instead.
SPY = """#!/bin/bash
for argument in "$@"; do
    if [[ "$argument" == {server} ]]; then printf '%s\\n' "$@" > {file}; exit 0; fi
done
exec {java} "$@"
"""


@pytest.fixture
def settings(apart: Callable[..., Settings], tmp_path: Path) -> Settings:
    """Of a stack in a folder with a blank and a quotation mark in its name, with Flink's jars linked."""
    return linked(apart(tmp_path / 'a "new" home'))


def linked(settings: Settings) -> Settings:
    """With links to Flink's own jars."""
    settings.flink_lib_dir.mkdir(parents=True)
    for jar in flink_home().glob("lib/*.jar"):
        (settings.flink_lib_dir / jar.name).symlink_to(jar)
    return settings


def ours(settings: Settings, process: str) -> list[str]:
    """The arguments, as Java itself reads them."""
    lines = arguments_file(settings.conf_dir / "flink", process).read_text().splitlines()
    return [line[1:-1].replace('\\"', '"') for line in lines]


def theirs(settings: Settings, script: str, server: str, folder: Path) -> list[str]:
    """The arguments that Flink's script gives Java."""
    (folder / "bin").mkdir()
    java, file = folder / "bin" / "java", folder / "arguments"
    java.write_text(SPY.format(server=server, file=file, java=java_home() / "bin" / "java"))
    java.chmod(0o755)
    environment = {**flink_environment(settings), "JAVA_HOME": str(folder), "FLINK_PID_DIR": str(folder)}
    subprocess.run(  # noqa: S603
        ["/bin/bash", str(flink_home() / "bin" / script), "start-foreground"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return file.read_text().splitlines()


@pytest.mark.parametrize(("process", "script"), [("jobmanager", "jobmanager.sh"), ("taskmanager", "taskmanager.sh")])
def test_a_server_gets_the_memory_and_the_classes_that_flinks_own_script_would_give_it(
    apart: Callable[..., Settings], process: str, script: str, tmp_path: Path
) -> None:
    settings = linked(apart(tmp_path / "home"))  # their script takes no blank in a path
    configure(settings, flink_options(settings))
    expected, found = theirs(settings, script, CLASSES[process], tmp_path), ours(settings, process)
    of_java = {argument for argument in expected if argument.startswith(("-Xm", "-XX:Max", "-Djava."))}
    assert of_java
    assert of_java <= set(found)
    to_flink = [sorted(each[each.index(CLASSES[process]) :]) for each in (expected, found)]
    assert to_flink[0] == to_flink[1]
    jars = [
        set(each[each.index(name) + 1].strip(":").split(":"))
        for each, name in ((expected, "-classpath"), (found, "-cp"))
    ]
    assert jars[0] == jars[1]


def test_java_reads_the_arguments_also_of_a_folder_with_a_blank_in_its_name(settings: Settings) -> None:
    configure(settings, flink_options(settings))
    said = subprocess.run(  # noqa: S603
        [str(java_home() / "bin" / "java"), f"@{arguments_file(settings.conf_dir / 'flink', 'client')}", "--version"],
        env=flink_environment(settings),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout.startswith("Version: 2."), shlex.join(ours(settings, "client"))


def test_what_is_written_already_is_not_asked_of_flink_again_but_a_change_is(settings: Settings) -> None:
    configure(settings, flink_options(settings))
    file = arguments_file(settings.conf_dir / "flink", "taskmanager")
    written = file.stat().st_mtime_ns
    configure(settings, flink_options(settings))
    assert file.stat().st_mtime_ns == written
    larger = settings.model_copy(update={"taskmanager_memory_mb": settings.taskmanager_memory_mb + 500})
    before = ours(settings, "taskmanager")
    configure(larger, flink_options(larger))
    assert ours(settings, "taskmanager") != before


def test_a_memory_that_flink_does_not_accept_is_refused_in_its_words(settings: Settings) -> None:
    with pytest.raises(ServerSetupFailed, match=r"configuration of its taskmanager: .*[Mm]emory"):
        configure(settings, {**flink_options(settings), "taskmanager.memory.process.size": "64m"})


def test_a_server_knows_who_the_stack_is_to_aws(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/one")
    monkeypatch.setenv("SOMETHING_ELSE", "that is no server's business")
    environment = flink_environment(settings)
    assert environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] == "/v2/credentials/one"
    assert "SOMETHING_ELSE" not in environment
