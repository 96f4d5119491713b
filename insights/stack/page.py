"""The page as a part of the stack: by itself, or behind the gate, where people log in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

from dashboards import launch
from insights.settings import PROJECT, Settings
from insights.stack.part import Part, http_ok, in_json
from insights.wiring import dsn_as, login_of
from warehouse.logins import Role


def page(settings: Settings, python: Mapping[str, str]) -> Part:
    """Its server, or the gate, which runs that as its child. ``python`` are the variables of our programs."""
    secrets = {"PGPASSWORD": login_of(settings, Role.READER).password}
    if settings.page_login == "oidc":
        secrets[settings.variable("oidc_client_secret")] = settings.oidc_client_secret or ""
    part = Part(
        name="page",
        command=_gate(settings) if settings.has_gate else _alone(settings),
        environment={**python, **secrets},
        healthy=partial(http_ok, f"{settings.page_url}/_stcore/health"),
        endpoint=settings.page_url,
        after=("tables",),
        cwd=PROJECT,
    )
    return in_json(part, settings)


def page_address(settings: Settings) -> str:
    """How browsers reach it."""
    return (settings.page_address or settings.page_url).rstrip("/")


def _alone(settings: Settings) -> list[str]:
    return launch.command(
        port=settings.page_port,
        dsn=dsn_as(settings, Role.READER, with_password=False),
        currency=settings.currency,
        listen=settings.listen,
    )


def _gate(settings: Settings) -> list[str]:
    options = {
        "listen": settings.listen,
        "port": settings.page_port,
        "login": settings.page_login,
        "address": page_address(settings),
        "folder": settings.page_dir,
        "dsn": dsn_as(settings, Role.READER, with_password=False),
        "currency": settings.currency,
    }
    if settings.page_login == "oidc":
        options |= {"oidc-issuer": settings.oidc_issuer, "oidc-client-id": settings.oidc_client_id}
        options["oidc-roles-claim"] = settings.oidc_roles_claim
    return [sys.executable, "-m", "dashboards.gate", *(f"--{name}={value}" for name, value in options.items())]
