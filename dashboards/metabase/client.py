"""The part of Metabase's REST API that is used here. A thin layer: other modules make the request bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.errors import InsightsError, Misconfigured, Retryable

OLDEST = 58
"""The oldest Metabase whose answers are known to be of the shape read here (the vendor's command line asks for it)."""

SITE_NAME = "Insights Hub"
TIME_ZONE = "UTC"


class MetabaseAway(Retryable):
    """Metabase did not answer, or answered that it is unavailable."""


class NotLetIn(Misconfigured):
    """Metabase knows neither this user with this password nor this key, or the user may not do it."""


class MetabaseRefused(InsightsError):
    """Metabase did not take a request.

    Attributes:
        status: of the answer.
        said: Metabase's own message.
    """

    def __init__(self, request: str, status: int, said: str) -> None:
        super().__init__(f"Metabase refused {request} ({status}): {said}")
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who asks: a key, or a user with a password (who becomes the first administrator of a Metabase that is new)."""

    api_key: str | None = None
    user: str | None = None
    password: str | None = None


class Metabase:
    """One Metabase, logged in. Each call blocks for ``timeout_seconds`` at most.

    They raise MetabaseAway, NotLetIn or MetabaseRefused.
    """

    def __init__(self, client: httpx.Client, url: str, properties: Mapping[str, Any], *, is_new: bool) -> None:
        self._client = client
        self.url = url
        self.properties = properties
        self.is_new = is_new

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The JSON at ``/api/<path>``."""
        return _asked(self._client, "GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Makes a thing, and gives it back."""
        return _asked(self._client, "POST", path, body=body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Changes what ``body`` names of a thing."""
        return _asked(self._client, "PUT", path, body=body)


@contextmanager
def metabase_at(
    url: str,
    account: Account,
    *,
    set_up: bool,
    timeout_seconds: float = 60,
    transport: httpx.BaseTransport | None = None,
) -> Iterator[Metabase]:
    """The Metabase at ``url``, with ``account`` logged in; logged out in the end.

    With ``set_up``, one that is new gets its first administrator. Raises Misconfigured when it is new without that,
    when it is older than is known to work, or when the account lacks something.
    """
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/", timeout=timeout_seconds, transport=transport) as client:
        properties = _asked(client, "GET", "session/properties")
        _check_version(properties)
        if account.api_key:
            client.headers["X-API-Key"] = account.api_key
            _asked(client, "GET", "user/current")
            yield Metabase(client, url, properties, is_new=False)
            return
        is_new = not properties.get("has-user-setup", True)
        if is_new and not set_up:
            raise Misconfigured(f"the Metabase at {url} is not set up yet: `insights dashboards apply` sets it up")
        session = _set_up(client, account, properties) if is_new else _log_in(client, account)
        client.headers["X-Metabase-Session"] = session
        try:
            yield Metabase(client, url, properties, is_new=is_new)
        finally:
            with suppress(httpx.TransportError):  # one that is not ended ends by itself
                client.delete("session")


def _check_version(properties: Mapping[str, Any]) -> None:
    tag = str((properties.get("version") or {}).get("tag", ""))
    found = re.match(r"v\d+\.(\d+)", tag)
    if found and int(found[1]) < OLDEST:
        raise Misconfigured(f"this is Metabase {tag}, and {OLDEST} is the oldest supported version; update it")


def _set_up(client: httpx.Client, account: Account, properties: Mapping[str, Any]) -> str:
    if not (account.user and account.password):
        raise Misconfigured(
            "this Metabase is new and needs a first administrator: give an e-mail address and a password (--user,"
            " INSIGHTS_METABASE_USER and INSIGHTS_METABASE_PASSWORD)"
        )
    body = {
        "token": properties.get("setup-token"),
        "user": {
            "email": account.user,
            "password": account.password,
            "first_name": "Insights",
            "last_name": "Hub",
        },
        "prefs": {"site_name": SITE_NAME, "site_locale": "en"},
    }
    session = str(_asked(client, "POST", "setup", body=body)["id"])
    # The page's days and hours are UTC; in a Metabase that others use, that is not ours to set.
    zone = {"X-Metabase-Session": session}
    _asked(client, "PUT", "setting/report-timezone", body={"value": TIME_ZONE}, headers=zone)
    return session


def _log_in(client: httpx.Client, account: Account) -> str:
    if not (account.user and account.password):
        raise Misconfigured(
            "Metabase needs credentials: give an API key (INSIGHTS_METABASE_API_KEY), or a user and a password"
            " (--user, INSIGHTS_METABASE_USER and INSIGHTS_METABASE_PASSWORD)"
        )
    try:
        return str(
            _asked(client, "POST", "session", body={"username": account.user, "password": account.password})["id"]
        )
    except (NotLetIn, MetabaseRefused) as refused:
        raise NotLetIn(
            f"Metabase rejected the login of {account.user}: {refused}; check INSIGHTS_METABASE_USER and"
            " INSIGHTS_METABASE_PASSWORD"
        ) from refused


def _asked(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int | bool] | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    request = f"{method} /api/{path}"
    try:
        answer = client.request(method, path, params=query or None, json=body, headers=dict(headers or {}))
    except httpx.InvalidURL as error:
        raise Misconfigured(
            f"{client.base_url} is not a valid address ({error}); INSIGHTS_METABASE_URL should look like http://…"
        ) from error
    except httpx.TransportError as error:
        raise MetabaseAway(
            f"no Metabase responds at {str(client.base_url).removesuffix('api/')} ({error or type(error).__name__});"
            " check that it runs and INSIGHTS_METABASE_URL"
        ) from error
    if answer.is_success:
        return _json(answer, request)
    said = _said(answer)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise MetabaseAway(
            f"Metabase can't answer {request} now ({said}); it may still be starting, try again in a minute"
        )
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise NotLetIn(f"Metabase rejected these credentials ({said}); check the API key, or user and password")
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise NotLetIn(f"this account may not do {request} ({said}); use a Metabase administrator")
    raise MetabaseRefused(request, answer.status_code, said)


def _json(answer: httpx.Response, request: str) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise Misconfigured(
            f"what answers {request} at {answer.url} is not Metabase: it sent {answer.text[:60]!r}; check"
            " INSIGHTS_METABASE_URL"
        ) from error


def _said(answer: httpx.Response) -> str:
    """Metabase's words: it puts them into ``errors``, ``message``, or plainly into the answer."""
    try:
        found = answer.json()
    except ValueError:
        return answer.text.strip()[:300] or answer.reason_phrase
    if isinstance(found, dict):
        errors = found.get("errors") or found.get("specific-errors")
        if isinstance(errors, dict) and errors:
            return "; ".join(f"{name} {said}" for name, said in errors.items())
        return str(found.get("message") or found)[:300]
    return str(found)[:300]
