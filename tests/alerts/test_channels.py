"""Each channel against a real server of its kind."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from alerts.channels import (
    SLACK_SECTION,
    ChannelFailed,
    ChannelSettings,
    Email,
    Slack,
    SmtpServer,
    Webhook,
    channels_of,
    slack_payload,
    smtp_server,
)
from alerts.message import Message, Reported
from schemas.errors import Misconfigured
from tests.alerts.receivers import Inbox, MailServer, mail_server, own_certificate
from tests.conftest import free_ports

MESSAGE = Message(
    id="0123456789abcdef",
    kind="fired",
    rule="low_stock",
    title="Low stock",
    severity="warning",
    at="2026-11-24T12:00:00Z",
    runbook="Order more.",
    findings=(
        Reported(label="P1", fingerprint="aa", text="Lamp <b>&co</b> lasts 2 days", since="2026-11-24T12:00:00Z"),
        Reported(label="P2", fingerprint="bb", text="Bell lasts 3 days — ☂", since="2026-11-24T11:00:00Z"),
    ),
)


def test_a_webhook_gets_the_documented_json(inbox: Inbox) -> None:
    Webhook(url=inbox.url).send(MESSAGE)
    assert inbox.messages == [
        {
            "version": 1,
            "id": "0123456789abcdef",
            "kind": "fired",
            "rule": "low_stock",
            "title": "Low stock",
            "severity": "warning",
            "at": "2026-11-24T12:00:00Z",
            "runbook": "Order more.",
            "more": 0,
            "text": "Low stock (2)\nLamp <b>&co</b> lasts 2 days\nBell lasts 3 days — ☂",
            "findings": [
                {"label": "P1", "fingerprint": "aa", "text": "Lamp <b>&co</b> lasts 2 days", "lasted": None}
                | {"since": "2026-11-24T12:00:00Z"},
                {"label": "P2", "fingerprint": "bb", "text": "Bell lasts 3 days — ☂", "lasted": None}
                | {"since": "2026-11-24T11:00:00Z"},
            ],
        }
    ]
    assert inbox.headers[0]["Content-Type"] == "application/json; charset=utf-8"
    assert "X-Insights-Signature" not in inbox.headers[0]


def test_a_signed_webhook_can_be_checked_by_anyone_with_the_secret(inbox: Inbox) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    Webhook(url=inbox.url, secret="s3cret", clock=lambda: at).send(MESSAGE)
    (headers,), (body,) = inbox.headers, inbox.bodies
    assert headers["X-Insights-Timestamp"] == str(int(at.timestamp()))
    signed = headers["X-Insights-Timestamp"].encode() + b"." + body
    assert headers["X-Insights-Signature"] == f"sha256={hmac.new(b's3cret', signed, hashlib.sha256).hexdigest()}"


def test_slack_gets_a_text_and_blocks_with_its_control_characters_escaped(inbox: Inbox) -> None:
    Slack(url=inbox.url).send(MESSAGE)
    (sent,) = inbox.messages
    assert sent["text"] == "Low stock (2)"
    assert [block["type"] for block in sent["blocks"]] == ["header", "section", "section", "context"]
    assert (
        sent["blocks"][1]["text"]["text"] == "• Lamp &lt;b&gt;&amp;co&lt;/b&gt; lasts 2 days\n• Bell lasts 3 days — ☂"
    )
    assert sent["blocks"][2]["text"]["text"] == "Order more."


def test_what_slack_would_not_take_is_made_shorter_at_a_whole_line() -> None:
    many = tuple(replace(MESSAGE.findings[0], text=f"{number:03d} " + "&" * 90) for number in range(50))
    payload = slack_payload(replace(MESSAGE, title="t" * 400, findings=many))
    head, lines = (payload["blocks"][place]["text"]["text"] for place in (0, 1))
    assert len(head) == 150
    assert len(lines) <= SLACK_SECTION
    kept, last = lines.splitlines()[:-1], lines.splitlines()[-1]
    assert all(line.endswith("&amp;" * 90) for line in kept)
    assert last == f"… and {50 - len(kept)} lines more"


@pytest.mark.parametrize("kind", [Webhook, Slack])
@pytest.mark.parametrize("status", [302, 400, 403, 404, 429, 500])
def test_a_refusal_is_reported_without_the_secret_path(inbox: Inbox, kind: Any, status: int) -> None:
    inbox.answers.append(status)
    with pytest.raises(ChannelFailed) as caught:
        kind(url=inbox.url).send(MESSAGE)
    assert f"answered {status}" in str(caught.value)
    assert "T0SECRET" not in str(caught.value) + repr(kind(url=inbox.url)) + kind(url=inbox.url).where
    assert inbox.bodies == []


def test_an_answer_is_reported_without_secrets_in_the_query_and_in_full_without_a_path(inbox: Inbox) -> None:
    inbox.answers.append(403)
    with pytest.raises(ChannelFailed, match="answered 403: no, not at /…[?]…$"):
        Webhook(url=f"{inbox.url}?token=T0SECRET").send(MESSAGE)
    with pytest.raises(ChannelFailed, match="answered 404: 404: Not Found$"):
        Webhook(url=inbox.url.removesuffix("/services/T0SECRET")).send(MESSAGE)


def test_a_refused_connection_is_reported_without_the_secret_path() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ChannelFailed, match="is not responding") as caught:
        Slack(url=f"http://127.0.0.1:{port}/services/T0SECRET").send(MESSAGE)
    assert "T0SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_one_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.channels.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ChannelFailed, match="did not respond"):
            Webhook(url=f"http://127.0.0.1:{port}/").send(MESSAGE)
        with pytest.raises(ChannelFailed, match="did not respond"):
            email_to(port).send(MESSAGE)


def email_to(port: int, *, tls: str = "none", user: str = "", password: str = "") -> Email:
    server = SmtpServer(host="127.0.0.1", port=port, tls=tls, user=user, password=password)
    return Email(server=server, sender="shop@example.com", recipients=("a@example.com", "b@example.com"))


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_an_email_is_plain_and_html_and_keeps_one_id_however_often_it_is_sent(mail: MailServer) -> None:
    for _ in range(2):
        email_to(mail.port).send(MESSAGE)
    first, second = mail.mails
    assert first["Subject"] == "[warning] Low stock (2)"
    assert (first["From"], first["To"]) == ("shop@example.com", "a@example.com, b@example.com")
    assert first["Message-ID"] == second["Message-ID"] == "<0123456789abcdef@insights-hub.invalid>"
    assert part(first, "plain").splitlines() == [
        *("- Lamp <b>&co</b> lasts 2 days", "- Bell lasts 3 days — ☂", "", "Order more.", ""),
        "warning · rule low_stock · 2026-11-24T12:00:00Z",
    ]
    assert "Lamp &lt;b&gt;&amp;co&lt;/b&gt; lasts 2 days" in part(first, "html")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return own_certificate(tmp_path)


@pytest.fixture(params=["started", "wrapped"])
def encrypted(request: pytest.FixtureRequest, certificate: Path) -> Iterator[tuple[str, MailServer]]:
    with mail_server(certificate=certificate, wrapped=request.param == "wrapped") as server:
        yield request.param, server


def test_an_email_goes_encrypted_with_user_and_password(
    encrypted: tuple[str, MailServer], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, server = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    email_to(server.port, tls=tls, user="shop", password="p@ss/word").send(MESSAGE)
    assert (len(server.mails), server.was_encrypted) == (1, [True])
    with pytest.raises(ChannelFailed, match="rejected the user and password") as caught:
        email_to(server.port, tls=tls, user="shop", password="wr0ng").send(MESSAGE)
    assert "wr0ng" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(encrypted: tuple[str, MailServer]) -> None:
    tls, server = encrypted
    with pytest.raises(ChannelFailed, match="has a certificate that is not trusted"):
        email_to(server.port, tls=tls).send(MESSAGE)
    assert server.mails == []


def test_without_encryption_nothing_is_sent_unless_it_is_asked_for(mail: MailServer) -> None:
    with pytest.raises(ChannelFailed, match="offers no encryption"):
        email_to(mail.port, tls="started").send(MESSAGE)
    assert mail.mails == []


def test_a_recipient_that_is_refused_is_named(mail: MailServer) -> None:
    mail.refuses = {"b@example.com"}
    with pytest.raises(ChannelFailed, match="rejected it for b@example.com"):
        email_to(mail.port).send(MESSAGE)
    mail.refuses |= {"a@example.com"}
    with pytest.raises(ChannelFailed, match="rejected all recipients: a@example.com, b@example.com"):
        email_to(mail.port).send(MESSAGE)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 587, "started", "", "")),
        ("smtp://shop:p%40ss%2Fword@mail.example.com:2525", ("mail.example.com", 2525, "started", "shop", "p@ss/word")),
        ("smtps://shop:x@mail.example.com", ("mail.example.com", 465, "wrapped", "shop", "x")),
        ("smtp://127.0.0.1?tls=none", ("127.0.0.1", 25, "none", "", "")),
    ],
)
def test_a_mail_server_is_named_by_an_address(url: str, server: tuple[str, int, str, str, str]) -> None:
    found = smtp_server(url)
    assert (found.host, found.port, found.tls, found.user, found.password) == server
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"webhook_url": "hooks.example.com/T0SECRET"},
            "INSIGHTS_ALERT_WEBHOOK_URL is not a web address like https://host/path",
        ),
        (
            {"slack_url": "ftp://example.com/T0SECRET"},
            "INSIGHTS_ALERT_SLACK_URL is not a web address like https://host/path",
        ),
        ({"webhook_secret": "T0SECRET"}, "set INSIGHTS_ALERT_WEBHOOK_URL"),
        ({"smtp_url": "smtp://u:T0SECRET@h"}, "also need INSIGHTS_ALERT_EMAIL_FROM and INSIGHTS_ALERT_EMAIL_TO"),
        ({"email_to": "a@example.com", "email_from": "b@example.com"}, "also need INSIGHTS_ALERT_SMTP_URL"),
        ({"smtp_url": "smtp://u:T0SECRET/x@h:1", "email_from": "a@b", "email_to": "a@b"}, "INSIGHTS_ALERT_SMTP_URL"),
        ({"smtp_url": "mail:T0SECRET", "email_from": "a@b", "email_to": "a@b"}, "INSIGHTS_ALERT_SMTP_URL should be"),
        ({"smtp_url": "smtp://h?tls=T0SECRET", "email_from": "a@b", "email_to": "a@b"}, "is ?tls=none"),
        ({"smtp_url": "smtp://h", "email_from": "a@b", "email_to": "ops"}, "INSIGHTS_ALERT_EMAIL_TO should be"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(given: dict[str, str], said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        channels_of(ChannelSettings(**given))
    assert said in str(caught.value)
    assert "T0SECRET" not in str(caught.value)


def test_what_is_configured_is_open_and_nothing_else() -> None:
    assert channels_of(ChannelSettings()) == ()
    every = ChannelSettings(
        webhook_url="https://example.com/T0SECRET",
        webhook_secret="T0SECRET",
        slack_url="https://hooks.example.com/T0SECRET",
        smtp_url="smtp://u:T0SECRET@mail.example.com",
        email_from="shop@example.com",
        email_to="a@example.com, b@example.com",
    )
    found = channels_of(every)
    assert [channel.name for channel in found] == ["webhook", "slack", "email"]
    assert [channel.where for channel in found] == [
        "https://example.com/…, signed",
        "https://hooks.example.com/…",
        "a@example.com, b@example.com by mail.example.com",
    ]
    assert "T0SECRET" not in repr(found) + json.dumps([channel.where for channel in found])
