"""Finds files over 400 lines that do not state why: ``check_sizes.py``, or ``check_sizes.py --list`` for those that do.

A file may be longer if its first lines say "Longer than 400 lines, because …". Split it by meaning otherwise.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("*.py", "*.sql", "*.css", "*.js", "*.html", "*.sh")
MOST_LINES = 400
HEAD_LINES = 20
WANTED = "Longer than 400 lines, because …"
REASON = re.compile(r"Longer than 400 lines, because (.+?)[.\"]")


def main(arguments: list[str]) -> int:
    """Prints the files; returns 1 if one lacks a reason."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *KINDS],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    lacking = 0
    for name in files.stdout.splitlines():
        path = ROOT / name
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) <= MOST_LINES:
            continue
        reason = REASON.search(" ".join(" ".join(lines[:HEAD_LINES]).split()))
        if reason is None:
            lacking += 1
            print(f"{name}: {len(lines)} lines. Split it by meaning, or say at its top: {WANTED}")
        elif "--list" in arguments:
            print(f"{name}: {len(lines)} lines, because {reason[1]}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
