"""The gate in front of the page, and those who try to get past it."""

from __future__ import annotations

import asyncio
import json

import pytest
import requests
from aiohttp import ClientSession

from dashboards.gate.attempts import PER_ADDRESS, PER_NAME, WINDOW_SECONDS
from dashboards.gate.server import own_path
from dashboards.visitor import HEADER, Role
from tests.gate.serving import PASSWORD, Running, visitor_of


def test_who_logs_in_gets_where_they_wanted_to_go(gate: Running) -> None:
    client = gate.client()
    sent = client.get(f"{gate.url}/?dashboard=stock&shop=a%20b", allow_redirects=False)
    assert sent.status_code == 303
    shown = client.get(f"{gate.url}{sent.headers['Location']}")
    assert 'value="/?dashboard=stock&amp;shop=a%20b"' in shown.text
    form = {"name": " Anna ", "password": PASSWORD, "next": "/?dashboard=stock&shop=a%20b"}
    heard = client.post(f"{gate.url}/login", data=form).json()
    assert heard["path"] == "/?dashboard=stock&shop=a%20b"
    assert visitor_of(heard) == {"name": "anna", "role": "analyst", "only": None}


def test_the_page_hears_nothing_else_of_a_visitor_and_says_nothing_else_to_them(gate: Running) -> None:
    client, _ = gate.log_in("vera")
    forged = {"name": "vera", "role": "operator", "only": None}
    answer = client.get(
        f"{gate.url}/?role=operator&only=",
        headers={HEADER: json.dumps(forged), HEADER.lower(): "x", "X-Streamlit-User": "root", "Authorization": "x"},
    )
    heard = answer.json()
    assert visitor_of(heard)["role"] == "viewer"
    assert {"Cookie", "Authorization", "X-Streamlit-User", "Origin"}.isdisjoint(heard["headers"])
    assert [cookie.name for cookie in answer.cookies] == []
    assert answer.headers.get("Server", "") != "inner"


@pytest.mark.parametrize("path", ["/", "/static/js/index.js", "/media/x.csv", "/_stcore/host-config", "/account"])
def test_without_a_session_nothing_is_shown(gate: Running, path: str) -> None:
    answer = gate.client().get(f"{gate.url}{path}", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"][:12]) == (303, "/login?next=")
    assert gate.client().get(f"{gate.url}{path}", headers={"Accept": "*/*"}).status_code in (401, 200)
    if path != "/account":
        assert gate.client().get(f"{gate.url}{path}", headers={"Accept": "*/*"}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/_stcore/agent/openapi.json", "/_stcore/metrics", "/_stcore/upload_file/a/b", "/x", "/app/static/x"]
)
def test_what_the_page_does_not_use_is_not_there(gate: Running, path: str) -> None:
    client, _ = gate.log_in("otto")
    assert client.get(f"{gate.url}{path}").status_code == 404
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert client.get(f"{gate.url}{path}", headers=headers).status_code == 404


def test_whether_the_page_is_well_is_no_secret(gate: Running) -> None:
    assert requests.get(f"{gate.url}/_stcore/health", timeout=10).text == "ok"


def test_a_wrong_password_and_a_name_that_is_none_look_the_same(gate: Running) -> None:
    answers = [gate.log_in(name, "wrong password")[1] for name in ("anna", "nobody")]
    assert [answer.status_code for answer in answers] == [401, 401]
    texts = [answer.text.replace("anna", "…").replace("nobody", "…") for answer in answers]
    assert _without_nonce(texts[0]) == _without_nonce(texts[1])
    assert all("Set-Cookie" not in answer.headers for answer in answers)


def _without_nonce(text: str) -> str:
    before, _, rest = text.partition('nonce="')
    return before + rest.partition('"')[2]


def test_passwords_can_be_tried_ten_times_in_a_quarter_of_an_hour(gate: Running) -> None:
    assert [gate.log_in("anna", f"guess {n} of many")[1].status_code for n in range(PER_NAME)] == [401] * PER_NAME
    refused = gate.log_in("anna")[1]
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_SECONDS
    assert gate.log_in("vera")[1].status_code == 303
    gate.clock.now += WINDOW_SECONDS + 1
    assert gate.log_in("anna")[1].status_code == 303


def test_many_attempts_at_once_are_counted_one_by_one(gate: Running) -> None:
    async def attempt(client: ClientSession, number: int) -> int:
        form = {"name": "anna", "password": f"guess {number} of many"}
        async with client.post(f"{gate.url}/login", data=form, headers={"Origin": gate.url}) as answer:
            return answer.status

    async def all_at_once() -> list[int]:
        async with ClientSession() as client:
            return await asyncio.gather(*(attempt(client, number) for number in range(PER_NAME + 5)))

    assert sorted(asyncio.run(all_at_once())) == [401] * PER_NAME + [429] * 5


def test_whom_a_proxy_names_is_counted_and_whom_a_visitor_names_is_not(secure: Running) -> None:
    def attempt(number: int, forwarded: str) -> int:
        headers = {"Origin": secure.origin, "X-Forwarded-For": forwarded}
        form = {"name": f"n{number}", "password": "wrong password"}
        return requests.post(f"{secure.url}/login", data=form, headers=headers, timeout=10).status_code

    found = [attempt(number, f"6.6.6.{number}, 203.0.113.9") for number in range(PER_ADDRESS + 1)]
    assert found == [401] * PER_ADDRESS + [429]
    assert attempt(99, "203.0.113.10") == 401


def test_a_proxys_name_for_a_visitor_counts_also_in_a_line_of_its_own(secure: Running) -> None:
    def attempt(number: int) -> bytes:
        form = f"name=n{number}&password=wrong".encode()
        head = "POST /login HTTP/1.1\r\nHost: x\r\nOrigin: https://x\r\nConnection: close\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n"
        head += (
            f"X-Forwarded-For: 6.6.6.{number}\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: {len(form)}\r\n\r\n"
        )
        return secure.raw(head.encode() + form).split(b" ", 2)[1]

    assert [attempt(number) for number in range(PER_ADDRESS + 1)] == [b"401"] * PER_ADDRESS + [b"429"]


def test_a_form_from_elsewhere_is_refused(gate: Running) -> None:
    form = {"name": "anna", "password": PASSWORD}
    for origin in ("https://evil.example", "null", f"{gate.url}.evil.example", None):
        answer = requests.post(f"{gate.url}/login", data=form, headers={"Origin": origin} if origin else {}, timeout=10)
        assert answer.status_code == 403, origin
    client, _ = gate.log_in("anna")
    assert client.post(f"{gate.url}/logout", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get(f"{gate.url}/").status_code == 200


@pytest.mark.parametrize(
    "wanted",
    [
        *("https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example"),
        *("javascript:alert(1)", "/\n/evil.example", "evil.example", "", "/login", "/logout", "/" + "x" * 3000),
        "/é",
    ],
)
def test_a_login_leads_nowhere_else(gate: Running, wanted: str) -> None:
    assert gate.log_in("anna", next=wanted)[1].headers["Location"] == "/"
    assert own_path(wanted) == "/"


def test_the_cookie_can_be_read_by_no_script_and_sent_by_no_other_site(gate: Running, secure: Running) -> None:
    set_by = {name: one.log_in("anna")[1].headers["Set-Cookie"] for name, one in (("open", gate), ("tls", secure))}
    for said in set_by.values():
        assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(said.split("; "))
        assert "Domain" not in said
    assert "Secure" not in set_by["open"]
    assert set_by["tls"].startswith("__Host-")
    assert "Secure" in set_by["tls"]


def test_a_cookie_that_was_made_up_or_has_ended_opens_nothing(gate: Running) -> None:
    client, answer = gate.log_in("anna")
    (token,) = [cookie.value for cookie in answer.cookies if cookie.name == gate.cookie]
    assert token is not None

    def status(value: str) -> int:
        return requests.get(
            f"{gate.url}/", headers={"Cookie": f"{gate.cookie}={value}", "Accept": "*/*"}, timeout=10
        ).status_code

    assert status(token) == 200
    for forged in (token[:-1], token + "A", token[::-1], "", "anna", "' or 1=1 --", "x" * 4000):
        assert status(forged) == 401
    gate.clock.now += 12 * 3600 + 1
    assert status(token) == 401
    assert client.get(f"{gate.url}/", allow_redirects=False).status_code == 303


def test_after_logging_out_the_session_is_over_everywhere(gate: Running) -> None:
    client, answer = gate.log_in("anna")
    stolen = dict(answer.cookies)
    assert "Log out" in client.get(f"{gate.url}/account").text
    assert client.post(f"{gate.url}/logout", allow_redirects=False).headers["Location"] == "/login"
    assert requests.get(f"{gate.url}/", cookies=stolen, headers={"Accept": "*/*"}, timeout=10).status_code == 401


def test_a_login_ends_the_session_that_was_there_before(gate: Running) -> None:
    client, answer = gate.log_in("vera")
    planted = dict(answer.cookies)
    client.post(f"{gate.url}/login", data={"name": "otto", "password": PASSWORD})
    assert requests.get(f"{gate.url}/", cookies=planted, headers={"Accept": "*/*"}, timeout=10).status_code == 401


def test_a_new_role_holds_at_once_and_a_new_password_or_removal_ends_sessions(gate: Running) -> None:
    gate.put_user("temp", Role.OPERATOR)
    client, _ = gate.log_in("temp")
    assert visitor_of(client.get(f"{gate.url}/").json())["role"] == "operator"
    gate.put_user("temp", Role.VIEWER)
    assert client.get(f"{gate.url}/", allow_redirects=False).status_code == 303
    client, _ = gate.log_in("temp")
    gate.doing(lambda: gate.access.remove_user("temp"))
    assert client.get(f"{gate.url}/", allow_redirects=False).status_code == 303


def test_rows_are_downloaded_by_analysts_and_not_by_viewers(gate: Running) -> None:
    statuses = {
        (name, path): gate.log_in(name)[0].get(f"{gate.url}/media/{path}").status_code
        for name in ("vera", "anna", "otto")
        for path in ("rows.csv", "rows", "rows.CSV", "rows.svg", "chart.svg")
    }
    assert {asked for asked, status in statuses.items() if status == 403} == {
        ("vera", path) for path in ("rows.csv", "rows", "rows.CSV", "rows.svg")
    }
    assert set(statuses.values()) == {200, 403}


def test_a_download_is_kept_by_no_cache(gate: Running) -> None:
    client, _ = gate.log_in("anna")
    assert client.get(f"{gate.url}/media/rows.csv").headers["Cache-Control"] == "private, no-store"
    assert client.get(f"{gate.url}/static/index.js").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_sent_to_the_page(gate: Running, method: str) -> None:
    client, _ = gate.log_in("otto")
    answer = client.request(method, f"{gate.url}/_stcore/upload_file/a/b", data=b"x")
    assert answer.status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        *(b"/../../etc/passwd", b"/static/..%2f..%2fetc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//evil.example/"),
        *(b"/static/..\\..\\x", b"/a%00b", b"/%5c..%5cx", b"/a%252e%252e/b", b"http://evil.example/", b"*"),
        b"/_stcore/health/../../media/x.csv",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(gate: Running, path: bytes) -> None:
    client, _ = gate.log_in("otto")
    cookie = f"{gate.cookie}={client.cookies[gate.cookie]}".encode()
    answer = gate.raw(b"GET %s HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: close\r\n\r\n" % (path, cookie))
    assert answer.split(b" ", 2)[1] in (b"400", b"404")
    assert b'"path"' not in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n" % (b"x" * 100_000),
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000),
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    ],
    ids=["a huge header", "a huge address", "two lengths", "a null"],
)
def test_a_request_that_is_none_is_refused_and_the_gate_stays_up(gate: Running, request_: bytes) -> None:
    answer = gate.raw(request_)
    assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"414", b"431")
    assert requests.get(f"{gate.url}/_stcore/health", timeout=10).ok


@pytest.mark.parametrize(
    ("origin", "kind", "status"),
    [
        ("http://[", "application/x-www-form-urlencoded", 403),
        (None, "multipart/form-data", 400),
        (None, "application/x-www-form-urlencoded; charset=none", 400),
    ],
)
def test_a_form_that_is_none_is_refused_with_a_reason_and_the_usual_headers(
    gate: Running, origin: str | None, kind: str, status: int
) -> None:
    headers = {"Origin": origin or gate.url, "Content-Type": kind}
    answer = requests.post(f"{gate.url}/login", data=b"name=anna&password=\xff", headers=headers, timeout=10)
    assert (answer.status_code, answer.headers.get("X-Frame-Options")) == (status, "DENY")


def test_an_error_of_the_gates_own_has_the_usual_headers_and_says_nothing_of_itself(
    gate: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = gate.log_in("anna")
    monkeypatch.setattr(gate.access, "visitor", lambda *_: {}["a secret"])
    answer = client.get(f"{gate.url}/")
    assert (answer.status_code, answer.headers.get("X-Frame-Options")) == (500, "DENY")
    assert "secret" not in answer.text


def test_where_a_proxy_encrypts_a_form_from_the_same_host_without_tls_is_refused(secure: Running) -> None:
    form = {"name": "anna", "password": PASSWORD}
    statuses = [
        requests.post(
            f"{secure.url}/login", data=form, headers={"Origin": origin}, allow_redirects=False, timeout=10
        ).status_code
        for origin in (secure.url, secure.origin)
    ]
    assert statuses == [403, 303]


def test_a_huge_form_is_refused(gate: Running) -> None:
    answer = gate.client().post(f"{gate.url}/login", data={"name": "x" * 100_000, "password": "y"})
    assert answer.status_code == 413


def test_every_answer_has_the_headers_that_keep_others_out(gate: Running, secure: Running) -> None:
    client, _ = gate.log_in("anna")
    for answer in (client.get(f"{gate.url}/"), client.get(f"{gate.url}/account"), client.get(f"{gate.url}/share/x")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert (
            "'unsafe-inline'"
            not in answer.headers["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]
        )
    assert "Strict-Transport-Security" in secure.client().get(f"{secure.url}/login").headers


def test_what_is_typed_into_the_form_is_no_markup(gate: Running) -> None:
    hostile = '"><script>alert(1)</script>'
    answer = gate.log_in(hostile, next=f"/?x={hostile}")[1]
    assert "<script" not in answer.text


# Links ----------------------------------------------------------------------------------------------------------------


def test_a_link_shows_one_dashboard_until_it_expires(gate: Running) -> None:
    share = gate.doing(lambda: gate.access.share("stock", gate.clock.now + 3600))
    guest = gate.client()
    heard = guest.get(f"{gate.url}/share/{share.token}").json()
    assert heard["path"] == "/?dashboard=stock"
    assert visitor_of(heard) == {"name": f"link {share.id}", "role": "guest", "only": "stock"}
    assert visitor_of(guest.get(f"{gate.url}/?dashboard=orders").json())["only"] == "stock"
    assert guest.get(f"{gate.url}/media/rows.csv").status_code == 403
    gate.clock.now += 3601
    assert guest.get(f"{gate.url}/", allow_redirects=False).status_code == 303
    assert guest.get(f"{gate.url}/share/{share.token}").status_code == 404


def test_a_link_that_is_revoked_ends_for_those_who_are_there(gate: Running) -> None:
    share = gate.doing(lambda: gate.access.share("stock", gate.clock.now + 3600))
    guest = gate.client()
    guest.get(f"{gate.url}/share/{share.token}")
    gate.doing(lambda: gate.access.revoke(share.id))
    assert guest.get(f"{gate.url}/", allow_redirects=False).status_code == 303
    assert gate.client().get(f"{gate.url}/share/{share.token}").status_code == 404


def test_a_link_that_is_followed_again_in_a_browser_begins_no_further_session(gate: Running) -> None:
    shares = [gate.doing(lambda: gate.access.share("stock", gate.clock.now + 3600)) for _ in range(2)]
    guest = gate.client()
    tokens = []
    for share in (shares[0], shares[0], shares[1]):
        assert guest.get(f"{gate.url}/share/{share.token}").ok
        tokens.append(guest.cookies[gate.cookie])
    assert tokens[0] == tokens[1] != tokens[2]
    assert "Set-Cookie" not in gate.client().head(f"{gate.url}/share/{shares[0].token}").headers


def test_a_made_up_link_opens_nothing_and_a_login_is_not_lost_by_following_one(gate: Running) -> None:
    share = gate.doing(lambda: gate.access.share("stock", gate.clock.now + 3600))
    for forged in (share.token[:-1], share.id, "x", "%27"):
        assert gate.client().get(f"{gate.url}/share/{forged}").status_code in (400, 404)
    client, _ = gate.log_in("anna")
    assert visitor_of(client.get(f"{gate.url}/share/{share.token}").json())["role"] == "analyst"
