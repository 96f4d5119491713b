"""Login at an OpenID Connect provider: the code flow with PKCE, state and nonce (OpenID Connect Core 1.0, RFC 7636)."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dashboards.visitor import ROLES, Role
from schemas.errors import InsightsError, Misconfigured, Retryable

DISCOVERY = "/.well-known/openid-configuration"
SECONDS = 10
PENDING_SECONDS = 600
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # signed by the provider's private key; never none, never HS256
LEEWAY_SECONDS = 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOG = logging.getLogger(__name__)
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
    """A login that has begun: what the answer must fit, and where to go after it. The browser keeps it, encrypted, so
    that any number of logins may begin.
    """

    state: str
    nonce: str
    verifier: str
    onwards: str


class Oidc:
    """A provider. Its methods ask it and block for SECONDS a request. Several threads may call them."""

    def __init__(self, settings: OidcSettings, redirect_uri: str, clock: Callable[[], float]) -> None:
        host = urlsplit(settings.issuer)
        if host.scheme != "https" and host.hostname not in LOOPBACK:
            raise Misconfigured(f"INSIGHTS_OIDC_ISSUER={settings.issuer}: should begin with https://")
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._cipher = Fernet(Fernet.generate_key())
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
        """The provider's address for a new login, and the login, which the browser must bring back with the answer."""
        pending = Pending(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            onwards=onwards,
        )
        with self._session() as session:
            url, _ = session.create_authorization_url(
                self.discover()["authorization_endpoint"],
                state=pending.state,
                nonce=pending.nonce,
                code_verifier=pending.verifier,
            )
        text = json.dumps(asdict(pending)).encode()
        return url, self._cipher.encrypt_at_time(text, int(self._clock())).decode()

    def finish(self, answer: Mapping[str, str], login: str) -> tuple[str, Role, str]:
        """Name, role, and where they wanted to go. Raises LoginRefused, or ProviderAway.

        The answer must come with the ``login`` of the browser that asked, or somebody could be logged in as somebody
        else.
        """
        pending = self._pending(login)
        if not secrets.compare_digest(pending.state.encode(), answer.get("state", "").encode()):
            raise LoginRefused("this login was begun elsewhere; try again")
        if "error" in answer or "code" not in answer:
            raise LoginRefused("the login provider did not log you in")
        claims = self._claims(self._token(answer["code"], pending), pending.nonce)
        name = str(claims.get("email") or claims.get("preferred_username") or claims["sub"])
        return name[:64], self._role(claims), pending.onwards

    def _pending(self, login: str) -> Pending:
        try:
            text = self._cipher.decrypt_at_time(login.encode(), PENDING_SECONDS, int(self._clock()))
        except InvalidToken as error:
            raise LoginRefused("this login took too long, or was begun elsewhere; try again") from error
        return Pending(**json.loads(text))

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
            LOG.warning("the login provider refused a login: %s", _meaning(str(error.error)))
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
        if (known := self._keys) is not None:
            try:
                return jwt.decode(token, known, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                pass
        self._keys = keys = KeySet.import_key_set(self._get(self.discover()["jwks_uri"]))  # type: ignore[arg-type]
        return jwt.decode(token, keys, algorithms=ALGORITHMS).claims

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The highest that the claim lists, as ``analyst`` or as ``insights-analyst``."""
        listed = claims.get(self._settings.roles_claim, [])
        listed = [listed] if isinstance(listed, str) else listed if isinstance(listed, list | dict) else []
        names = {str(name).removeprefix("insights-") for name in listed}
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


def _meaning(error: str) -> str:
    """Of an error of RFC 6749, for whoever set this up."""
    if error in ("invalid_client", "unauthorized_client"):
        return f"{error}; INSIGHTS_OIDC_CLIENT_ID or INSIGHTS_OIDC_CLIENT_SECRET is not as the provider knows it"
    return repr(error[:200])
