"""A stand-in for an OpenID Connect provider: it logs in whom it is told to, and signs what it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import BasicAuth, web
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "page", "s3cret of the client"


@dataclass(slots=True)
class Provider:
    """``claims`` are put over those of an honest ID token; ``algorithm`` and ``key`` sign it."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    foreign: RSAKey | bytes | None = None
    is_down: bool = False
    refuses_with: str = ""
    logins: dict[str, dict[str, str]] = field(default_factory=dict)

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/.well-known/openid-configuration", self._describe)
        made.router.add_get("/authorize", self._authorize)
        made.router.add_post("/token", self._token)
        made.router.add_get("/keys", self._keys)
        return made

    async def _describe(self, _: web.Request) -> web.Response:
        if self.is_down:
            raise web.HTTPServiceUnavailable
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return web.json_response(
            {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in ends.items()}
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.logins)}"
        self.logins[code] = asked
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.logins.pop(str(form["code"]), None)
        who = BasicAuth.decode(request.headers["Authorization"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        is_fine = (
            asked
            and (who.login, who.password) == (CLIENT_ID, CLIENT_SECRET)
            and challenge.decode().rstrip("=") == asked["code_challenge"]
            and form["redirect_uri"] == asked["redirect_uri"]
        )
        if not is_fine or asked is None or self.refuses_with:
            return web.json_response({"error": self.refuses_with or "invalid_grant"}, status=400)
        token = self._signed({"nonce": asked["nonce"]})
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def _signed(self, more: dict[str, Any]) -> str:
        now = int(time.time())
        honest = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "7", "email": "anna@example.com", "iat": now}
        claims = {**honest, "exp": now + 300, "roles": ["analyst"], **more, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        if isinstance(self.foreign, bytes):  # libraries refuse to sign like this
            signed = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": self.algorithm}, claims))
            by = hmac.digest(self.foreign, signed.encode(), "sha256") if self.algorithm == "HS256" else b""
            return f"{signed}.{_text(by)}"
        key = self.foreign or self.key
        return jwt.encode({"alg": self.algorithm, "kid": str(key.kid)}, claims, key, algorithms=[self.algorithm])

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(KeySet([self.key]).as_dict(private=False))


def _text(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
