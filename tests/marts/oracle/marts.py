"""Every mart by its name: what makes a row of it one, and what its rows must be.

Written from the words that define the marts, in plain Python: no SQL, no code of ``dbt/`` or ``aggregates/``, so that a
mistake has to be made twice to pass. A function in any module of this folder is a mart's if decorated with ``@mart``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.marts.oracle.listed import MARTS, QUALITY_MARTS

__all__ = ["MARTS", "QUALITY_MARTS"]

for _path in sorted(Path(__file__).parent.glob("*.py")):
    if _path != Path(__file__):
        import_module(f"tests.marts.oracle.{_path.stem}")
