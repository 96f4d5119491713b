"""The examples of docs/sources.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()


def example(language: str, containing: str) -> str:
    """The one block of code in this language that has this text."""
    (found,) = [each for each in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in each]
    assert isinstance(found, str)
    return found
