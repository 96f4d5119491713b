"""Who looks at the page, and what they may see. The gate says so to the page in one header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

HEADER = "X-Insights-Visitor"


class Role(StrEnum):
    """Each may what those before it may. A ``guest`` has a link to one dashboard."""

    GUEST = "guest"
    VIEWER = "viewer"
    ANALYST = "analyst"
    OPERATOR = "operator"

    def includes(self, other: Role) -> bool:
        """May this role what the other may?"""
        order = list(Role)
        return order.index(self) >= order.index(other)


ROLES = tuple(role for role in Role if role != Role.GUEST)
"""Those that a person can be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """``name`` is empty where nobody logs in. ``only`` is the one dashboard that a guest's link leads to."""

    name: str
    role: Role
    only: str | None = None

    @property
    def may_export(self) -> bool:
        """May they download rows?"""
        return self.role.includes(Role.ANALYST)

    def may_see(self, dashboard: str, seen_by: Role) -> bool:
        """May they see the dashboard of that name, which is for those with the role ``seen_by``?"""
        if self.role == Role.GUEST:
            return dashboard == self.only
        return self.role.includes(seen_by)

    @property
    def header(self) -> str:
        """Its value, in ASCII."""
        return json.dumps(asdict(self))

    @classmethod
    def in_headers(cls, headers: Mapping[str, str]) -> Visitor | None:
        """None where no gate has said who it is."""
        said = headers.get(HEADER)
        if said is None:
            return None
        fields = json.loads(said)
        return cls(name=fields["name"], role=Role(fields["role"]), only=fields["only"])


ANYBODY = Visitor(name="", role=Role.OPERATOR)
"""Where the page has no login."""
