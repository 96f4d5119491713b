"""How Flink's processes are started: Java itself, with the arguments of each in a file that Java reads.

Flink's own scripts start Java five times before a server and twice before the client, which is two seconds of a
processor at each start and each recovery. What they find out is found out here once for each configuration.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from insights.java import java_home
from insights.settings import Settings
from insights.stack.part import SYSTEM_PATH, ServerSetupFailed
from insights.wiring import COMPILED_THOUGH_LONG, QUICK_START, flink_home, java_region
from schemas.aws import login

CLASSES = {
    "jobmanager": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "taskmanager": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    "client": "org.apache.flink.client.cli.CliFrontend",
}
SIZES = "org.apache.flink.runtime.util.bash.BashJavaUtils"
SIZES_OF = {"jobmanager": "GET_JM_RESOURCE_PARAMS", "taskmanager": "GET_TM_RESOURCE_PARAMS"}
FOUND = "BASH_JAVA_UTILS_EXEC_RESULT:"
SECONDS = 60
TO_CONSOLE = {"CONSOLE_LEVEL": "INFO"}
"""In the environment of a server whose log goes to its output, too: nobody else keeps a container's files."""


def java_environment(**more: str) -> dict[str, str]:
    """The environment of a Java process, with ``more`` added."""
    return {"PATH": SYSTEM_PATH, "JAVA_HOME": str(java_home()), "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def flink_environment(settings: Settings) -> dict[str, str]:
    """The environment of a server of Flink's."""
    return java_environment(
        FLINK_CONF_DIR=str(settings.conf_dir / "flink"),
        FLINK_LIB_DIR=str(settings.flink_lib_dir),
        FLINK_PLUGINS_DIR=str(flink_home() / "plugins"),
        FLINK_LOG_DIR=str(settings.logs_dir),
        **login(),  # a lake in S3 may be reached as who the stack is
    )


def arguments_file(conf: Path, process: str) -> Path:
    """``java @FILE`` starts the JobManager, the TaskManager or the client; more arguments may follow."""
    return conf / f"{process}.args"


def configure(settings: Settings, options: Mapping[str, str | int]) -> None:
    """Write config.yaml with these options, and each process's arguments, unless they are there.

    Blocks for a second. Raises ServerSetupFailed when Flink does not accept the options.
    """
    conf = settings.conf_dir / "flink"
    for folder in (conf, settings.home / "flink" / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key}: {value}\n" for key, value in options.items())
    _write_if_other(conf / "log4j.properties", log4j("${sys:log.file}", settings.log_format, "${sys:insights.part}"))
    changed = _write_if_other(conf / "config.yaml", text)
    for process, name in CLASSES.items():
        file, java = arguments_file(conf, process), _java_arguments(settings, process)
        if changed or not file.exists() or _lines(java) not in file.read_text():
            sizes, found = _sizes(process, conf) if process in SIZES_OF else ([], [])
            more = [*found, "--configDir", str(conf)] if process in SIZES_OF else []
            file.write_text(_lines(sizes) + _lines(java) + _lines([name, *more]))


def _write_if_other(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    return True


def _lines(arguments: list[str]) -> str:
    """As Java reads them from a file."""
    escaped = (argument.replace("\\", "\\\\").replace('"', '\\"') for argument in arguments)
    return "".join(f'"{argument}"\n' for argument in escaped)


def _class_path(folder: Path) -> str:
    """Flink's own jar last, as its scripts have it."""
    jars = sorted(folder.glob("*.jar"), key=lambda jar: (jar.name.startswith("flink-dist"), jar.name))
    return ":".join(str(jar) for jar in jars)


def _java_arguments(settings: Settings, process: str) -> list[str]:
    """Options of Java, with those that Flink's own configuration has, and the class path."""
    stock = (flink_home() / "conf" / "config.yaml").read_text()
    opened = re.search(r"^\s+all: (.*)$", stock, re.MULTILINE)
    quick = [QUICK_START, COMPILED_THOUGH_LONG] if settings.quick_start else []
    log = settings.home / "flink" / "client" / "client.log" if process == "client" else settings.logs_dir / process
    own: dict[str, Iterable[str]] = {
        "jobmanager": ("-XX:+UseSerialGC", QUICK_START, "-XX:+ExitOnOutOfMemoryError"),
        # The collector that costs least. It stops the world; `bench.pipeline latency` holds against that.
        # A TaskManager out of memory lingers and works no more; one that is gone is started again.
        "taskmanager": (
            *("-XX:+UseParallelGC", "-XX:+UseTransparentHugePages", "-XX:+ExitOnOutOfMemoryError"),
            *quick,
        ),
        "client": ("-XX:+UseSerialGC", QUICK_START),
    }
    return [
        *(opened.group(1).split() if opened else ()),
        *("-Djava.security.manager=allow", "-Duser.timezone=UTC", f"-Dlog.file={log.with_suffix('.log')}"),
        f"-Dlog4j.configurationFile={(settings.conf_dir / 'flink' / 'log4j.properties').as_uri()}",
        f"-Dinsights.part={process}",
        *own[process],
        *java_region(settings),
        *("-cp", _class_path(settings.flink_lib_dir)),
    ]


def _sizes(process: str, conf: Path) -> tuple[list[str], list[str]]:
    """What Flink makes of the configured memory: options of Java, and of Flink."""
    (dist,) = flink_home().glob("lib/flink-dist-*.jar")
    command = [
        *(str(java_home() / "bin" / "java"), "-XX:+UseSerialGC", QUICK_START),
        *("-cp", f"{flink_home() / 'bin' / 'bash-java-utils.jar'}:{dist}", SIZES),
        *(SIZES_OF[process], "--configDir", str(conf)),
    ]
    done = subprocess.run(  # noqa: S603
        command, env=java_environment(), capture_output=True, text=True, check=False, timeout=SECONDS
    )
    found = [line.removeprefix(FOUND).split() for line in done.stdout.splitlines() if line.startswith(FOUND)]
    if done.returncode or len(found) != 2:
        raise ServerSetupFailed(
            f"Flink does not accept the configuration of its {process}: {(done.stdout + done.stderr).strip()[-600:]}"
        )
    return found[0], found[1]


TEXT = "%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %c{1} - %m%n"
JSON = (
    '{"time":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSS}{UTC}Z","level":"%level{lowerCase=true}","part":"PART",'
    '"message":"%enc{%m}{JSON}","logger":"%enc{%c}{JSON}","thread":"%enc{%t}{JSON}"'
    '%notEmpty{,"exception":"%enc{%ex}{JSON}"}}%n'
)
"""Neither a jar for JSON nor Jackson is on all of these servers' class paths; a pattern needs none."""


def log4j(file: str, form: str, part: str) -> str:
    """A log4j2 configuration: one rolling file of at most 3 times 20 MB, and the console where TO_CONSOLE is set.

    ``form`` is text or json, with the name of ``part`` in each object.
    """
    pattern = JSON.replace("PART", part) if form == "json" else TEXT
    always = "false" if form == "json" else "true"  # JSON's pattern says where an exception goes
    return f"""status = error
monitorInterval = 0
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = File
rootLogger.appenderRef.console.ref = Console
rootLogger.appenderRef.console.level = ${{env:CONSOLE_LEVEL:-OFF}}
appender.console.name = Console
appender.console.type = Console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = {pattern}
appender.console.layout.alwaysWriteExceptions = {always}
appender.file.name = File
appender.file.type = RollingFile
appender.file.fileName = {file}
appender.file.filePattern = {file}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = {pattern}
appender.file.layout.alwaysWriteExceptions = {always}
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 20MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.shaded.name = org.apache.flink.kafka.shaded
logger.shaded.level = WARN
"""
