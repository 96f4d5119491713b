"""Login at an OpenID Connect provider, and answers that a provider should not give."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import RSAKey

from dashboards.gate.oidc import PENDING_SECONDS, LoginRefused, Oidc, OidcSettings, ProviderAway
from schemas.errors import Misconfigured
from tests.gate.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.gate.serving import Clock, Loop, Running, a_gate, a_loop, served, visitor_of


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with a_loop() as found:
        yield found


@pytest.fixture(scope="module")
def shared(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, Running]]:
    provider = Provider()
    folder = tmp_path_factory.mktemp("oidc") / "page"
    with served(loop, provider.application()) as provider.issuer, a_gate(folder, provider=provider) as gate:
        yield provider, gate


@pytest.fixture
def provider(shared: tuple[Provider, Running]) -> Provider:
    """Honest again."""
    found = shared[0]
    found.claims, found.algorithm, found.foreign, found.is_down, found.refuses_with = {}, "RS256", None, False, ""
    return found


@pytest.fixture
def gate(shared: tuple[Provider, Running]) -> Running:
    return shared[1]


def log_in(gate: Running, onwards: str = "/") -> tuple[requests.Session, requests.Response]:
    client = gate.client()
    return client, client.get(f"{gate.url}/login/oidc", params={"next": onwards})


def test_whom_the_provider_knows_is_let_in_with_their_role(provider: Provider, gate: Running) -> None:
    assert "Log in" in gate.client().get(f"{gate.url}/login").text
    _, answer = log_in(gate, "/?dashboard=stock")
    assert answer.json()["path"] == "/?dashboard=stock"
    assert visitor_of(answer.json()) == {"name": "anna@example.com", "role": "analyst", "only": None}


@pytest.mark.parametrize(
    ("roles", "role"),
    [(["viewer"], "viewer"), ("operator", "operator"), (["insights-viewer", "insights-operator", "x"], "operator")],
)
def test_the_highest_role_that_is_listed_counts(provider: Provider, gate: Running, roles: Any, role: str) -> None:
    provider.claims = {"roles": roles}
    assert visitor_of(log_in(gate)[1].json())["role"] == role


@pytest.mark.parametrize("roles", [None, [], ["admin"], "guest", ["guest"], 7, True, {"viewer": 1, "x": 2}])
def test_who_has_no_role_is_told_so_and_not_let_in(provider: Provider, gate: Running, roles: Any) -> None:
    provider.claims = {"roles": roles}
    client, answer = log_in(gate)
    if isinstance(roles, dict):  # its names are listed
        assert visitor_of(answer.json())["role"] == "viewer"
        return
    assert answer.status_code == 403
    assert "You have no role here" in answer.text
    assert client.get(f"{gate.url}/", allow_redirects=False).status_code == 303


LONG_AGO = 1_700_000_000  # in November 2023


@pytest.mark.parametrize(
    "claims",
    [
        *({"iss": "https://evil.example"}, {"aud": "another"}, {"aud": ["page", "another"]}, {"nonce": "of another"}),
        *({"exp": LONG_AGO}, {"exp": None}, {"nonce": None}, {"sub": None}, {"aud": None}),
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_login_is_refused(
    provider: Provider, gate: Running, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    client, answer = log_in(gate)
    assert (answer.status_code, "not for this page" in answer.text) == (403, True)
    assert client.get(f"{gate.url}/", allow_redirects=False).status_code == 303


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("none", lambda _: b"-"),
        ("HS256", lambda provider: provider.key.as_pem(private=False)),
        ("HS256", lambda _: CLIENT_SECRET.encode()),
        ("RS256", lambda _: RSAKey.generate_key(2048, {"kid": "first"})),
        ("RS256", lambda _: RSAKey.generate_key(2048, {"kid": "unknown"})),
    ],
    ids=["unsigned", "by the public key", "by the client's secret", "by another key", "by an unknown key"],
)
def test_a_token_that_the_provider_did_not_sign_is_refused(
    provider: Provider, gate: Running, algorithm: str, key: Callable[[Provider], Any]
) -> None:
    provider.algorithm, provider.foreign = algorithm, key(provider)
    assert log_in(gate)[1].status_code == 403


def test_a_provider_may_change_its_key(provider: Provider, gate: Running) -> None:
    assert log_in(gate)[1].ok
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})
    assert log_in(gate)[1].ok


def test_an_answer_comes_to_whoever_asked_and_once(provider: Provider, gate: Running) -> None:
    client = gate.client()
    sent = client.get(f"{gate.url}/login/oidc", allow_redirects=False)
    back = requests.get(sent.headers["Location"], allow_redirects=False, timeout=10).headers["Location"]
    assert gate.client().get(back).status_code == 403
    assert gate.client().get(f"{gate.url}/login/callback?code=x&state=").status_code == 403
    assert client.get(back, allow_redirects=False).status_code == 303
    assert client.get(back, allow_redirects=False).status_code == 403


def test_logins_that_others_begin_stop_nobodys(provider: Provider) -> None:
    found = a_provider(provider.issuer)
    _, login = found.begin("/first")
    for _ in range(1100):
        found.begin("/")
    assert found._pending(login).onwards == "/first"


def test_a_login_that_took_too_long_is_refused(provider: Provider) -> None:
    clock = Clock()
    settings = OidcSettings(issuer=provider.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    found = Oidc(settings, "http://127.0.0.1/login/callback", clock)
    url, login = found.begin("/")
    state = parse_qs(urlsplit(url).query)["state"][0]
    clock.now += PENDING_SECONDS + 1
    with pytest.raises(LoginRefused, match="took too long"):
        found.finish({"state": state, "code": "x"}, login)


def test_what_a_browser_keeps_of_its_login_can_be_neither_read_nor_changed(provider: Provider) -> None:
    found = a_provider(provider.issuer)
    url, login = found.begin("/?dashboard=stock")
    state = parse_qs(urlsplit(url).query)["state"][0]
    assert "stock" not in login
    assert state.encode() not in base64.urlsafe_b64decode(login)
    for changed in (login[:-8] + "AAAAAAA=", "", "é", a_provider(provider.issuer).begin("/")[1]):
        with pytest.raises(LoginRefused):
            found.finish({"state": state, "code": "x"}, changed)


def test_a_wrong_secret_is_named_in_the_log_and_not_to_strangers(
    provider: Provider, gate: Running, caplog: pytest.LogCaptureFixture
) -> None:
    provider.refuses_with = "invalid_client"
    answer = log_in(gate)[1]
    assert answer.status_code == 403
    assert "INSIGHTS" not in answer.text
    assert "invalid_client; INSIGHTS_OIDC_CLIENT_ID or INSIGHTS_OIDC_CLIENT_SECRET is not" in caplog.text


def test_a_code_of_another_login_is_refused(provider: Provider, gate: Running) -> None:
    """PKCE: whoever steals a code lacks the verifier."""
    thief, victim = gate.client(), gate.client()
    states = {}
    for who in (thief, victim):
        sent = who.get(f"{gate.url}/login/oidc", allow_redirects=False)
        back = requests.get(sent.headers["Location"], allow_redirects=False, timeout=10).headers["Location"]
        states[who] = back
    stolen = states[victim].partition("code=")[2].partition("&")[0]
    own = states[thief].partition("code=")[2].partition("&")[0]
    assert thief.get(states[thief].replace(f"code={own}", f"code={stolen}")).status_code == 403


@pytest.mark.parametrize("onwards", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_a_login_there_leads_nowhere_else_either(provider: Provider, gate: Running, onwards: str) -> None:
    assert log_in(gate, onwards)[1].json()["path"] == "/"


def test_there_is_no_password_where_there_is_a_provider(provider: Provider, gate: Running) -> None:
    assert gate.log_in("anna")[1].status_code == 405


def a_provider(issuer: str) -> Oidc:
    found = OidcSettings(issuer=issuer, client_id=CLIENT_ID, client_secret="x")
    return Oidc(found, "http://127.0.0.1/login/callback", time.time)


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_named(provider: Provider) -> None:
    provider.is_down = True
    with pytest.raises(ProviderAway, match="does not answer: 503"):
        a_provider(provider.issuer).discover()
    provider.is_down = False
    with pytest.raises(ProviderAway, match=f"calls itself {provider.issuer}; set it exactly so"):
        a_provider(f"{provider.issuer}/").discover()
    assert a_provider(provider.issuer).discover()["issuer"] == provider.issuer
    with pytest.raises(Misconfigured, match="INSIGHTS_OIDC_ISSUER=http://login.example: should begin with https"):
        a_provider("http://login.example")


def test_while_the_provider_is_away_people_are_told_and_the_log_says_why(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider.is_down = True
    with a_gate(tmp_path / "page", provider=provider) as gate:
        answer = log_in(gate)[1]
    assert (answer.status_code, "log in at the moment" in answer.text) == (502, True)
    assert provider.issuer not in answer.text
    assert f"{provider.issuer} does not answer: 503" in caplog.text
