"""Orders and refunds: the synthetic shop's, or a real shop's from a file."""

from __future__ import annotations

from producers.runner import Run
from schemas.errors import Misconfigured


def run(this: Run) -> None:
    """Publish orders until asked to stop, or until the file is read. Raises Misconfigured as its parts do."""
    # Each is loaded when it runs: a file needs no simulated people, whose names take half a second to load.
    if this.options.from_file is not None:
        from producers.order_file import source as order_file

        order_file.run(this)
    elif this.options.mapping is not None:
        raise Misconfigured("--mapping needs a file: give --from-file FILE")
    else:
        from producers.shop import source as shop

        shop.run(this)
