"""The live job's format in a Java process of its own: thousands of records a second, and what came of each."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from insights import jars
from insights.java import java_home
from insights.settings import load_settings
from insights.wiring import flink_home

SOURCES = Path(__file__).parent / "java"
HEAD = struct.Struct(">ii")
NOT_FOUND = 404
Told = list[Any]
"""["row", {field: value}], ["dead", reason, bytes in hexadecimal digits] or ["thrown", exception]."""


class Decoding:
    """Decodes records of the contracts, in the order in which they were given."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def decode(self, records: Sequence[tuple[int, bytes | None]]) -> list[Told]:
        """What came of each (number of its contract, value). Fails when the process does."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(framed(records))
        self._process.stdin.flush()
        lines = [self._process.stdout.readline() for _ in records]
        assert all(lines), f"Java ended; its last words: {self._log.read_text()[-3000:]}"
        return [json.loads(line) for line in lines]


def framed(records: Sequence[tuple[int, bytes | None]]) -> bytes:
    """Records as DecodeMany reads them."""
    return b"".join(HEAD.pack(n, -1 if value is None else len(value)) + (value or b"") for n, value in records)


@contextmanager
def decoding(contracts: Sequence[str], schemas: Mapping[int, str]) -> Iterator[Decoding]:
    """A process for these contracts, with a registry that has these schemas by their ids."""
    with tempfile.TemporaryDirectory(prefix="decoding-") as name, registry(schemas) as url:
        log = Path(name) / "java.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command(contracts, url, Path(name)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
            try:
                yield Decoding(process, log)
            finally:
                process.kill()
                process.communicate()


def command(contracts: Sequence[str], url: str, folder: Path, *options: str) -> list[str]:
    """What runs DecodeMany."""
    (folder / "contracts").write_text("\n".join(contracts))
    return [*java("DecodeMany", folder), url, str(folder / "contracts"), *options]


def java(main: str, folder: Path) -> list[str]:
    """What runs a class of this folder, which is compiled with our Java for Flink."""
    settings = load_settings()
    jars.fetch(settings.jars, parts=("flink", "compiler"), repository=settings.maven_repository)
    jars.link_flink(settings.jars, flink_home(), folder / "lib")
    (compiler,) = jars.of_part("compiler", settings.jars)
    virtual_machine, class_path = str(java_home() / "bin" / "java"), f"{folder / 'classes'}:{folder / 'lib'}/*"
    all_jars = ":".join(str(jar) for jar in (folder / "lib").glob("*.jar"))
    subprocess.run(
        [virtual_machine, "-jar", str(compiler), "-17", "-proc:none", "-nowarn", "-cp", all_jars]
        + ["-d", str(folder / "classes"), str(SOURCES)],
        check=True,
    )
    return [virtual_machine, "-Xmx512m", "-XX:+UseSerialGC", "-cp", class_path, f"insights.flink.{main}"]


@contextmanager
def registry(schemas: Mapping[int, str]) -> Iterator[str]:
    """What answers a question for a schema by its id, as Confluent's API does."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = re.match(r"/schemas/ids/(-?\d+)", self.path)
            text = schemas.get(int(asked[1])) if asked else None
            body = {"schema": text} if text else {"error_code": 40403, "message": "Schema not found"}
            raw = json.dumps(body).encode()
            self.send_response(200 if text else NOT_FOUND)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
