"""Login at an OpenID Connect provider: the code flow with PKCE, state and nonce (OpenID Connect Core 1.0, RFC 7636)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dashboards.visitor import ROLES, Role
from schemas.errors import InsightsError, Misconfigured, Retryable

DISCOVERY = "/.well-known/openid-configuration"
SECONDS = 10
PENDING_SECONDS = 600
MOST_PENDING = 1000
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # signed by the provider's private key; never none, never HS256
LEEWAY_SECONDS = 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class LoginRefused(InsightsError):
    """The provider's answer does not let this person in; its text may be shown to them."""


class ProviderAway(Retryable):
    """The provider does not answer as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """``roles_claim`` is the claim of the ID token that lists a person's roles."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    roles_claim: str = "roles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A login that has begun: what the answer must fit, and where to go after it."""

    nonce: str
    verifier: str
    onwards: str
    ends_at: float


class Oidc:
    """A provider. Its methods ask it and block for SECONDS a request."""

    def __init__(self, settings: OidcSettings, redirect_uri: str, clock: Callable[[], float]) -> None:
        host = urlsplit(settings.issuer)
        if host.scheme != "https" and host.hostname not in LOOPBACK:
            raise Misconfigured(f"INSIGHTS_OIDC_ISSUER={settings.issuer}: should begin with https://")
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._pending: dict[str, Pending] = {}
        self._known: dict[str, Any] | None = None
        self._keys: KeySet | None = None

    def discover(self) -> dict[str, Any]:
        """The provider's own description. Raises ProviderAway naming what is wrong."""
        if self._known is None:
            found = self._get(f"{self._settings.issuer.rstrip('/')}{DISCOVERY}")
            if found.get("issuer") != self._settings.issuer:
                raise ProviderAway(
                    f"INSIGHTS_OIDC_ISSUER={self._settings.issuer}: the provider there calls itself"
                    f" {found.get('issuer')}; set it exactly so"
                )
            if missing := [name for name in NEEDED if name not in found]:
                raise ProviderAway(f"INSIGHTS_OIDC_ISSUER={self._settings.issuer}: it names no {', '.join(missing)}")
            self._known = found
        return self._known

    def begin(self, onwards: str) -> tuple[str, str]:
        """The provider's address for a new login, and its state, which the browser must bring back."""
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        with self._session() as session:
            url, state = session.create_authorization_url(
                self.discover()["authorization_endpoint"],
                state=secrets.token_urlsafe(32),
                nonce=nonce,
                code_verifier=verifier,
            )
        now = self._clock()
        self._pending = {known: one for known, one in self._pending.items() if one.ends_at > now}
        while len(self._pending) >= MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[state] = Pending(nonce=nonce, verifier=verifier, onwards=onwards, ends_at=now + PENDING_SECONDS)
        return url, state

    def finish(self, answer: Mapping[str, str]) -> tuple[str, Role, str]:
        """Name, role, and where they wanted to go. Raises LoginRefused, or ProviderAway."""
        pending = self._pending.pop(answer.get("state", ""), None)
        if pending is None or pending.ends_at <= self._clock():
            raise LoginRefused("this login took too long, or was begun elsewhere; try again")
        if "error" in answer or "code" not in answer:
            raise LoginRefused("the login provider did not log you in")
        claims = self._claims(self._token(answer["code"], pending), pending.nonce)
        name = str(claims.get("email") or claims.get("preferred_username") or claims["sub"])
        return name[:64], self._role(claims), pending.onwards

    def _session(self) -> OAuth2Session:
        return OAuth2Session(
            self._settings.client_id,
            self._settings.client_secret,
            scope="openid email profile",
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )

    def _token(self, code: str, pending: Pending) -> str:
        try:
            with self._session() as session:
                found = session.fetch_token(
                    self.discover()["token_endpoint"], code=code, code_verifier=pending.verifier, timeout=SECONDS
                )
        except AuthlibBaseError as error:
            raise LoginRefused("the login provider did not accept this login; try again") from error
        except (requests.RequestException, ValueError) as error:
            raise ProviderAway(f"the login provider {self._settings.issuer} does not answer: {error}") from error
        return str(found.get("id_token", ""))

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Of an ID token that the provider signed, for us, for this login, and that is still good."""
        rules = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims = dict(self._decoded(token))
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            raise LoginRefused("the login provider's answer is not for this page; try again") from error
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if len(audiences) > 1 and claims.get("azp") != self._settings.client_id:
            raise LoginRefused("the login provider's answer is not for this page; try again")
        return claims

    def _decoded(self, token: str) -> Mapping[str, Any]:
        """A provider changes its keys: where the known ones don't fit, they are read again, once."""
        if self._keys is not None:
            try:
                return jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                self._keys = None
        self._keys = KeySet.import_key_set(self._get(self.discover()["jwks_uri"]))  # type: ignore[arg-type]
        return jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The highest that the claim lists, as ``analyst`` or as ``insights-analyst``."""
        listed = claims.get(self._settings.roles_claim, [])
        names = {
            str(name).removeprefix("insights-") for name in ([listed] if isinstance(listed, str) else listed or [])
        }
        found = [role for role in ROLES if role in names]
        if not found:
            raise LoginRefused(
                f"you have no role here: {self._settings.roles_claim} should list one of {', '.join(ROLES)};"
                " ask the person who manages your login provider"
            )
        return found[-1]

    def _get(self, url: str) -> dict[str, Any]:
        try:
            answer = requests.get(url, timeout=SECONDS, allow_redirects=False)
            answer.raise_for_status()
            found = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise ProviderAway(f"the login provider {self._settings.issuer} does not answer: {error}") from error
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ProviderAway(f"the login provider {self._settings.issuer} does not answer: {url} is no JSON object")
        return found
