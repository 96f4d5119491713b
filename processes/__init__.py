"""Processes that we start. It knows no other folder.

``EXIT_WITH_PARENT`` is a script: ``python EXIT_WITH_PARENT SCRIPT ARGUMENTS`` runs another script that ends when its
standard input is closed, so at the latest with its parent. ``JSON_LINES`` is another: ``python JSON_LINES
PART COMMAND`` turns what a program writes into JSON lines. json_logs.py has the log of a program of ours as such lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

EXIT_WITH_PARENT: Final = Path(__file__).parent / "exit_with_parent.py"
JSON_LINES: Final = Path(__file__).parent / "json_lines.py"
