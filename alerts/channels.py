"""Where messages go: a webhook, Slack, e-mail. Each sends one message or raises ChannelFailed, and shows no secret."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from pydantic import BaseModel, ConfigDict

from alerts.message import Message
from alerts.rule import ChannelName
from schemas.errors import Misconfigured, Retryable
from schemas.plural import counted

TIMEOUT_SECONDS = 10.0
SIGNATURE, TIMESTAMP = "X-Insights-Signature", "X-Insights-Timestamp"
EMOJI = {"critical": ":red_circle:", "warning": ":large_yellow_circle:", "info": ":large_blue_circle:"}
COLOURS = {"critical": "#c0272d", "warning": "#b7791f", "info": "#2b6cb0"}
# Slack's limits: https://docs.slack.dev/reference/block-kit/blocks
SLACK_HEADER, SLACK_SECTION = 150, 3000


class ChannelFailed(Retryable):
    """A channel did not take a message; the message gives the reason, without any secret. Sending it again may work."""


class Channel(Protocol):
    """``where`` is where it sends to, without secrets."""

    @property
    def name(self) -> ChannelName:
        """The kind of channel, which messages and logs name."""
        ...

    @property
    def where(self) -> str:
        """Where it sends to, without secrets."""
        ...

    def send(self, message: Message) -> None:
        """Blocks for ten seconds or so at most. Raises ChannelFailed."""
        ...


class ChannelSettings(BaseModel):
    """What is configured; empty means none. ``smtp_url``: ``smtp://user:password@host:587`` or ``smtps://…``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    webhook_url: str | None = None
    webhook_secret: str | None = None
    slack_url: str | None = None
    smtp_url: str | None = None
    email_from: str | None = None
    email_to: str | None = None


def channels_of(settings: ChannelSettings) -> tuple[Channel, ...]:
    """The channels that are configured. Raises Misconfigured naming the setting, never its value."""
    found: list[Channel] = []
    if settings.webhook_url:
        url = _web_address("WEBHOOK_URL", settings.webhook_url)
        found.append(Webhook(url=url, secret=settings.webhook_secret or None))
    elif settings.webhook_secret:
        raise Misconfigured("INSIGHTS_ALERT_WEBHOOK_SECRET signs a webhook's messages: set INSIGHTS_ALERT_WEBHOOK_URL")
    if settings.slack_url:
        found.append(Slack(url=_web_address("SLACK_URL", settings.slack_url)))
    if settings.smtp_url or settings.email_from or settings.email_to:
        found.append(_email(settings))
    return tuple(found)


def _web_address(name: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f"INSIGHTS_ALERT_{name} is not a web address like https://host/path")
    return url


def _email(settings: ChannelSettings) -> Email:
    given = {"SMTP_URL": settings.smtp_url, "EMAIL_FROM": settings.email_from, "EMAIL_TO": settings.email_to}
    if missing := [f"INSIGHTS_ALERT_{name}" for name, value in given.items() if not value]:
        raise Misconfigured(f"e-mail alerts also need {' and '.join(missing)}")
    recipients = tuple(each.strip() for each in str(settings.email_to).split(",") if each.strip())
    for name, addresses in (("EMAIL_FROM", (str(settings.email_from),)), ("EMAIL_TO", recipients)):
        if not addresses or any("@" not in address or "\n" in address for address in addresses):
            raise Misconfigured(f"INSIGHTS_ALERT_{name} should be an e-mail address, or several separated by commas")
    return Email(server=smtp_server(str(settings.smtp_url)), sender=str(settings.email_from), recipients=recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """``tls``: ``wrapped`` from the first byte, ``started`` by STARTTLS before anything is sent, or ``none``."""

    host: str
    port: int
    tls: str
    user: str = ""
    password: str = field(default="", repr=False)


def smtp_server(url: str) -> SmtpServer:
    """``smtps://…``: TLS. ``smtp://…``: STARTTLS, or nothing is sent; ``?tls=none`` does without."""
    advice = "INSIGHTS_ALERT_SMTP_URL should be smtp://user:password@host:587 or smtps://user:password@host:465"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Misconfigured(
            f"{advice}; the port is not a number, or a character of the password needs %-encoding"
        ) from error
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise Misconfigured(f"{advice}; a character like / or # in the password needs %-encoding")
    if options.keys() - {"tls"} or options.get("tls", ["none"]) != ["none"] or (options and parts.scheme == "smtps"):
        raise Misconfigured(f"{advice}; the only option, after smtp://…, is ?tls=none")
    tls = "wrapped" if parts.scheme == "smtps" else "none" if options else "started"
    return SmtpServer(
        host=parts.hostname,
        port=port or {"wrapped": 465, "started": 587, "none": 25}[tls],
        tls=tls,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """POSTs JSON, as docs/alerts.md describes it. With a secret the body and the time are signed (HMAC-SHA256)."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    name: ChannelName = "webhook"

    @property
    def where(self) -> str:
        return f"{_host(self.url)}, {'signed' if self.secret else 'not signed'}"

    def send(self, message: Message) -> None:
        """Post the message as JSON, signed if there is a secret. Raises ChannelFailed."""
        body = json.dumps(webhook_payload(message), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if self.secret:
            at = str(int(self.clock().timestamp()))
            headers |= {TIMESTAMP: at, SIGNATURE: signature(self.secret, at, body)}
        _post(self.url, body, headers)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=…`` of the timestamp's text, a full stop, and the body."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def webhook_payload(message: Message) -> dict[str, Any]:
    """``version`` counts up when a field changes its meaning or goes; fields may come."""
    return {
        "version": 1,
        **{name: value for name, value in message.as_json().items() if name != "findings"},
        "text": "\n".join((message.head, *message.lines)),
        "findings": message.as_json()["findings"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """An incoming webhook of Slack, or of what takes the same payload."""

    url: str = field(repr=False)
    name: ChannelName = "slack"

    @property
    def where(self) -> str:
        return _host(self.url)

    def send(self, message: Message) -> None:
        """Post the message in Slack's format. Raises ChannelFailed."""
        _post(self.url, json.dumps(slack_payload(message)).encode(), {"Content-Type": "application/json"})


def slack_payload(message: Message) -> dict[str, Any]:
    """``text`` is for notifications, the blocks for the screen."""
    mark = ":white_check_mark:" if message.kind == "recovered" else EMOJI.get(message.severity, "")
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _short(f"{mark} {message.head}", SLACK_HEADER)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _slack_lines(message.lines)}},
    ]
    if message.advice:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": _slack_lines([message.advice], "")}})
    foot = f"{message.severity} · {message.rule} · {message.at}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _slack_text(foot)}]})
    return {"text": _slack_text(message.head), "blocks": blocks}


def _slack_text(text: str) -> str:
    """Slack's three control characters; the rest is as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack_lines(lines: Sequence[str], mark: str = "• ") -> str:
    """As many whole lines as fit a section, and how many more there are."""
    texts = [_slack_text(mark + _short(line, 500)) for line in lines]
    kept: list[str] = []
    for text in texts:
        if sum(len(each) + 1 for each in kept) + len(text) > SLACK_SECTION - 50:
            return "\n".join([*kept, f"… and {counted(len(texts) - len(kept), 'line')} more"])
        kept.append(text)
    return "\n".join(kept)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """One e-mail to all recipients, plain text and HTML. Certificates are checked."""

    server: SmtpServer
    sender: str
    recipients: tuple[str, ...]
    name: ChannelName = "email"

    @property
    def where(self) -> str:
        return f"{', '.join(self.recipients)} by {self.server.host}"

    def send(self, message: Message) -> None:
        """Send one e-mail to all recipients. Raises ChannelFailed, also when only some are rejected."""
        mail = email_of(message, self.sender, self.recipients)
        try:
            with self._connected() as smtp:
                if self.server.user:
                    smtp.login(self.server.user, self.server.password)
                refused = smtp.send_message(mail, self.sender, self.recipients)
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelFailed(f"{self.server.host}:{self.server.port} {_smtp_words(error)}") from None
        if refused:
            raise ChannelFailed(f"{self.server.host} rejected it for {', '.join(sorted(refused))}")

    def _connected(self) -> smtplib.SMTP:
        where = (self.server.host, self.server.port)
        if self.server.tls == "wrapped":
            return smtplib.SMTP_SSL(*where, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        smtp = smtplib.SMTP(*where, timeout=TIMEOUT_SECONDS)
        try:
            if self.server.tls == "started":
                smtp.starttls(context=ssl.create_default_context())
        except BaseException:
            smtp.close()
            raise
        return smtp


def _smtp_words(error: Exception) -> str:
    match error:
        case smtplib.SMTPAuthenticationError():
            return "rejected the user and password"
        case smtplib.SMTPNotSupportedError():
            return (
                "offers no encryption (STARTTLS), so nothing was sent; ?tls=none sends without it, on a trusted network"
            )
        case smtplib.SMTPRecipientsRefused():
            return f"rejected all recipients: {', '.join(sorted(error.recipients))}"
        case smtplib.SMTPResponseException():
            said = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            return f"answered {error.smtp_code}: {_short(' '.join(str(said).split()), 200)}"
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not trusted: {error.verify_message}"
        case _ if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            return f"did not respond within {TIMEOUT_SECONDS:.0f} s"
        case _:
            return f"is not responding: {_short(str(error), 200)}"


def email_of(message: Message, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Its Message-ID is derived from the message's id, so that a mailbox shows a repeated message once."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[{message.severity}] {message.head}".split())
    mail["From"], mail["To"] = sender, ", ".join(recipients)
    mail["Date"] = format_datetime(datetime.fromisoformat(message.at))
    mail["Message-ID"] = f"<{message.id}@insights-hub.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    foot = f"{message.severity} · rule {message.rule} · {message.at}"
    plain = [*(f"- {line}" for line in message.lines), *(["", message.advice] if message.advice else []), "", foot]
    mail.set_content("\n".join(plain) + "\n")
    mail.add_alternative(_as_html(message, foot), subtype="html")
    return mail


def _as_html(message: Message, foot: str) -> str:
    colour = "#2f855a" if message.kind == "recovered" else COLOURS.get(message.severity, "#333333")
    items = "".join(f'<li style="margin:4px 0">{html.escape(line)}</li>' for line in message.lines)
    advice = f'<p style="margin:16px 0">{html.escape(message.advice)}</p>' if message.advice else ""
    return (
        '<!doctype html><html lang="en"><body style="font:15px/1.5 sans-serif;color:#222;max-width:640px">'
        f'<h2 style="border-left:4px solid {colour};padding-left:12px;font-size:18px">{html.escape(message.head)}</h2>'
        f'<ul style="padding-left:20px">{items}</ul>{advice}'
        f'<p style="color:#666;font-size:12px">{html.escape(foot)}</p></body></html>'
    )


def _host(url: str) -> str:
    """Scheme and host: the path of a webhook is its secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}/…"


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    # An error's own text would contain the path, which is a secret.
    try:
        answer = requests.post(
            url,
            data=body,
            headers={"User-Agent": "insights-hub", **headers},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError:
        raise ChannelFailed(f"{_host(url)} has a certificate that is not trusted") from None
    except requests.exceptions.Timeout:
        raise ChannelFailed(f"{_host(url)} did not respond within {TIMEOUT_SECONDS:.0f} s") from None
    except requests.exceptions.RequestException as error:
        raise ChannelFailed(f"{_host(url)} is not responding ({type(error).__name__})") from None
    if not 200 <= answer.status_code < 300:
        said = _short(_without_secret(url, " ".join(answer.text.split())), 200)
        raise ChannelFailed(f"{_host(url)} answered {answer.status_code}{f': {said}' if said else ''}")


def _without_secret(url: str, text: str) -> str:
    """The text without the address's path and query, which a server's answer may repeat."""
    parts = urlsplit(url)
    for secret in (parts.query, parts.path.strip("/")):
        if secret:
            text = text.replace(secret, "…")
    return text
