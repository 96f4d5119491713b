"""Validates every body without a Metabase, with the vendor's own command line, which knows Metabase's schemas.

The command line reads a body, validates it, and only then contacts the server. The given address has no server, so a
valid body ends in the error of an unreachable server, and an invalid one in a different error before that.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from dashboards.card_sql import relations
from dashboards.metabase.render import Body, MetabaseDashboard, missing_targets
from schemas.errors import InsightsError, Misconfigured
from warehouse.roles import SHOWN

NOWHERE = "http://127.0.0.1:9"
VALIDATE_EACH = Path(__file__).with_name("validate_each.mjs")
ANEW = "reinstall it with: rm -r .metabase-cli && python3 bootstrap.py metabase"
ENVIRONMENT = {
    "MB_URL": NOWHERE,
    "MB_API_KEY": "none",
    "MB_CLI_DISABLE_KEYRING": "1",
    "MB_CLI_SKIP_PREFLIGHT": "1",
}


class Answer(TypedDict):
    """What the command line wrote."""

    stdout: str
    stderr: str


class ValidatorMissing(Misconfigured):
    """The vendor's command line isn't installed, or does not run: nothing was validated."""


class ValidatorFailed(InsightsError):
    """The vendor's command line gave an answer that is neither valid nor invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request body, and what it would create. ``name`` is for people."""

    kind: Literal["card", "dashboard"]
    name: str
    body: Body


def requests(dashboards: Iterable[MetabaseDashboard]) -> Iterator[Request]:
    """The body of everything that would be made, with numbers as Metabase would give them."""
    known = list(dashboards)
    files = {dashboard.name: place for place, dashboard in enumerate(known, start=1)}
    numbers = {card.key: n for n, card in enumerate((c for d in known for c in d.all_cards), start=1)}
    for dashboard in known:
        for card in dashboard.all_cards:
            yield Request(kind="card", name=card.key, body=card.payload(database=1, collection=1))
        body = dashboard.payload(collection=1)
        body |= {"parameters": dashboard.filters(numbers), "dashcards": dashboard.dashcards(numbers, files)}
        yield Request(kind="dashboard", name=dashboard.name, body=body)


def own_problems(dashboards: Iterable[MetabaseDashboard]) -> list[str]:
    """What the vendor can't know: links that lead nowhere, and tables that Metabase's user may not read."""
    known = list(dashboards)
    return missing_targets(known) + [
        f"card {card.key} reads {relation}, and Metabase's user may read {', '.join(SHOWN)} only"
        for dashboard in known
        for card in dashboard.all_cards
        for relation in relations(card.query.sql)
        if relation.partition(".")[0] not in SHOWN
    ]


def refusals(installed: Path, asked: Iterable[Request]) -> list[str]:
    """What the vendor's command line finds wrong, a line a body; none when all is well. Blocks for some seconds.

    ``installed`` is the folder that bootstrap.py put it into. Raises ValidatorMissing when it can't be run, so that
    silence is not taken for approval.
    """
    with tempfile.TemporaryDirectory() as folder:
        bodies = list(asked)
        calls = []
        for place, request in enumerate(bodies):
            file = Path(folder) / f"{place}.json"
            file.write_text(json.dumps(request.body))
            calls.append([request.kind, "create", "--file", str(file), "--json"])
        answers = _run(installed, calls)
    found = [_refusal(request, answer) for request, answer in zip(bodies, answers, strict=True)]
    return [problem for problem in found if problem]


def _refusal(request: Request, said: Answer) -> str | None:
    category = _category(said["stderr"])
    if category == "network":
        return None
    if category in ("config", "validation"):
        return f"{request.kind} {request.name}: {_reasons(said)}"
    raise ValidatorFailed(
        f"Metabase's command line returned for {request.kind} {request.name}:"
        f" {(said['stderr'] or said['stdout'])[:300]!r}; {ANEW}"
    )


def _run(installed: Path, calls: list[list[str]]) -> list[Answer]:
    command = [str(installed / "node"), str(VALIDATE_EACH), str(installed / "node_modules/@metabase/cli/dist/cli.mjs")]
    asked = "".join(json.dumps(call) + "\n" for call in calls)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **ENVIRONMENT},
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValidatorMissing(
            f"nothing was validated: Metabase's command line could not run ({error}); `python3 bootstrap.py metabase`"
            " installs it"
        ) from error
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(calls):
        raise ValidatorMissing(
            f"validation is incomplete: Metabase's command line ended early ({done.stderr.strip()[-300:]!r}); {ANEW}"
        )
    return answers


def _category(text: str) -> str | None:
    for line in text.splitlines():
        if line.startswith("{"):
            error: dict[str, Any] = json.loads(line).get("error") or {}
            return error.get("category")
    return None


def _reasons(said: Answer) -> str:
    """The places in the body and what is wrong there, or the error's own words."""
    for line in said["stdout"].splitlines():
        if line.startswith("{") and (errors := json.loads(line).get("errors")):
            return "; ".join(f"{error['path']} {error['message']}" for error in errors)
    for line in said["stderr"].splitlines():
        if line.startswith("{"):
            return str(json.loads(line)["error"]["message"])
    return said["stderr"].strip()
