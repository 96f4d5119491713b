"""Waits until the page of a deployment in containers answers: ``python3 docker/await_page.py``."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from contextlib import suppress

SECONDS = 600
URL = f"http://localhost:{os.environ.get('INSIGHTS_PAGE_PORT', '19501')}"


def main() -> None:
    """Blocks until it does. Ends with 1 and what to look at when it does not in ten minutes."""
    print("waiting for the page", file=sys.stderr)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{URL}/_stcore/health", timeout=2):  # noqa: S310
            print(f"The live page: {URL}")
            return
        time.sleep(1)
    sys.exit(f"no page at {URL} after {SECONDS} s; `docker compose logs hub` says why")


if __name__ == "__main__":
    main()
