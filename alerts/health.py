"""``GET /health``: whether the daemon runs, and its state. Answers 200 while the daemon's steps run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from alerts.watch import Watch

# A step may wait for every rule's statement timeout and for a channel that hangs.
STUCK_AFTER = timedelta(minutes=5)


@contextmanager
def serving(watch: Watch, port: int) -> Iterator[None]:
    """Answers on 127.0.0.1 from here until it is left. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                self.send_error(404)
                return
            health = watch.health
            is_stuck = datetime.now(UTC) - health.at > STUCK_AFTER
            body = json.dumps({**asdict(health), "at": health.at.isoformat()}).encode()
            self.send_response(503 if is_stuck else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests come every few seconds: they are not logged."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
