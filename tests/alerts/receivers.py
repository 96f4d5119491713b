"""Where alerts go in the tests: a web server and a mail server, both real, that keep what they get."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import free_ports


@dataclass
class Inbox:
    """A web server's: ``url`` to post to, every body as it came, ``answers`` to give first (then 200)."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    on_message: Callable[[dict[str, Any]], None] = lambda body: None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def web_server() -> Iterator[Inbox]:
    (port,) = free_ports(1)
    inbox = Inbox(url=f"http://127.0.0.1:{port}/services/T0SECRET")

    async def take(request: web.Request) -> web.Response:
        status = inbox.answers.pop(0) if inbox.answers else 200
        body = await request.read()
        if status == 200:
            inbox.bodies.append(body)
            inbox.headers.append(dict(request.headers))
            inbox.on_message(json.loads(body))
        return web.Response(status=status, text="ok" if status == 200 else f"no, not at {request.path_qs}")

    app = web.Application()
    app.router.add_post("/services/T0SECRET", take)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", port).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield inbox
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass
class MailServer:
    """``mails`` as they came; ``refuses`` recipients."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.was_encrypted.append(session.ssl is not None or getattr(server, "wrapped", False))
        return "250 OK"


class _Controller(Controller):
    def __init__(self, handler: MailServer, *, certificate: Path | None, wrapped: bool) -> None:
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        self._starttls = None if wrapped else context
        self._wrapped = wrapped
        super().__init__(handler, hostname="127.0.0.1", port=handler.port, ssl_context=context if wrapped else None)

    def factory(self) -> SMTP:
        server = SMTP(
            self.handler,
            tls_context=self._starttls,
            authenticator=_knows,
            auth_require_tls=False,
            require_starttls=False,
        )
        server.wrapped = self._wrapped
        return server


def _knows(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"shop", b"p@ss/word"), handled=False)


@contextmanager
def mail_server(*, certificate: Path | None = None, wrapped: bool = False) -> Iterator[MailServer]:
    (port,) = free_ports(1)
    server = MailServer(port=port)
    controller = _Controller(server, certificate=certificate, wrapped=wrapped)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def own_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that is trusted only if configured, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
