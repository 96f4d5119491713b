"""As whom a program logs in to Postgres. What each role may do there: roles.py.

A role's name begins with the database's, so that two stacks on one server don't share it. Its password follows from the
owner's: a stack has one secret for Postgres, and who has it may make the others.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.errors import Misconfigured

LONGEST_NAME = 63  # of Postgres; it would cut off the rest, and roles would be one


class Role(StrEnum):
    """``reader`` is the page and exports, ``flink`` the live jobs, ``dbt`` builds marts, ``alerts`` is the daemon."""

    READER = "reader"
    FLINK = "flink"
    DBT = "dbt"
    ALERTS = "alerts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A role's name and password."""

    user: str
    password: str = field(repr=False)


def login(role: Role, database: str, owners_password: str) -> Login:
    """How a program logs in. Raises Misconfigured when the database's name is too long for a role's."""
    user = f"{database}_{role}"
    if len(user.encode()) > LONGEST_NAME:
        raise Misconfigured(f"{database} is too long a name of a database: roles are named after it, as {user}")
    made = hmac.new(owners_password.encode(), f"insights {user}".encode(), hashlib.sha256)
    return Login(user=user, password=made.hexdigest())
