"""Orders and refunds: the synthetic shop's, or a real shop's from a file."""

from __future__ import annotations

from producers.runner import Run
from producers.shop import source as shop


def run(this: Run) -> None:
    """Publish orders until told to stop, or until the file is read. Raises Misconfigured as its parts do."""
    shop.run(this)
