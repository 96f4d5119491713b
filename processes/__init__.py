"""Processes that we start. It knows no other folder.

``EXIT_WITH_PARENT`` is a script: ``python EXIT_WITH_PARENT SCRIPT ARGUMENTS`` runs another script that ends when its
standard input is closed, so at the latest with its parent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

EXIT_WITH_PARENT: Final = Path(__file__).parent / "exit_with_parent.py"
