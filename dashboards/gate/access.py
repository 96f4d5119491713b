"""Who may log in, who has, and which links are shared: one SQLite file that only its owner may read.

A session and a shared link are known by a random token of 256 bits, of which the file has the hash: nothing about them
can be computed or forged, and deleting the line ends them. Commands change the file while the gate runs; the gate looks
at it with each request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dashboards.visitor import ROLES, Role, Visitor
from schemas.errors import Misconfigured

FILE = "access.sqlite"
SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 20
"""Of one person; a further one ends the oldest."""
MOST_GUESTS = 200
"""Sessions of one link; a further one ends the oldest."""

NAME = re.compile(r"[a-z0-9][a-z0-9@._+-]{0,63}")
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 1024
COST = (2**15, 8, 1)
"""Of scrypt (n, r, p): 32 MB and a tenth of a second. It is kept with each hash, so that it may be raised."""

DDL = """
create table if not exists users (
    name text primary key, role text not null, password_hash text not null
);
create table if not exists shares (
    id text primary key, token_hash text not null unique, dashboard text not null, expires_at real not null
);
create table if not exists sessions (
    token_hash text primary key,
    name text not null,
    role text not null,
    user text references users (name) on delete cascade,
    share text references shares (id) on delete cascade,
    began_at real not null,
    expires_at real not null
);
create index if not exists sessions_by_end on sessions (expires_at);
create index if not exists sessions_by_name on sessions (name, began_at);
"""
VISITOR = """
select sessions.name, coalesce(users.role, sessions.role), shares.dashboard
from sessions
left join users on users.name = sessions.user
left join shares on shares.id = sessions.share
where sessions.token_hash = ? and sessions.expires_at > ? and (share is null or shares.expires_at > ?)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody with a password."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link to one dashboard until ``expires_at`` (Unix seconds). Its ``token`` is known when it is made, then not."""

    id: str
    dashboard: str
    expires_at: float
    token: str = field(default="", repr=False)


class Access:
    """The file in a folder of its own. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._database.execute("pragma foreign_keys = on")
        self._database.executescript(DDL)

    def close(self) -> None:
        """Later calls raise sqlite3.ProgrammingError."""
        self._database.close()

    # People ------------------------------------------------------------------------------------------------------

    def put_user(self, name: str, role: Role, password: str) -> None:
        """Adds somebody, or gives them another role and password, which ends their sessions. Blocks for a tenth of a
        second. Raises Misconfigured for a name or a password that is none.
        """
        if not NAME.fullmatch(name):
            raise Misconfigured(
                f"{name!r} can't be a user's name: up to 64 small letters, digits and @._+-, as anna@example.com"
            )
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise Misconfigured(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        with self._changing():
            self._database.execute("delete from users where name = ?", (name,))
            self._database.execute("insert into users values (?, ?, ?)", (name, role, hashed(password)))

    def remove_user(self, name: str) -> None:
        """Ends their sessions, too. Raises Misconfigured where there is nobody of that name."""
        if not self._database.execute("delete from users where name = ?", (name,)).rowcount:
            raise Misconfigured(f"there is no user {name}; `insights page user list` shows who there is")

    def users(self) -> list[User]:
        """All of them, by name."""
        rows = self._database.execute("select name, role from users order by name")
        return [User(name=name, role=Role(role)) for name, role in rows]

    def password_hash(self, name: str) -> str | None:
        """What ``is_password`` compares."""
        row = self._database.execute("select password_hash from users where name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    # Sessions ----------------------------------------------------------------------------------------------------

    def begin_of_user(self, name: str, now: float) -> str | None:
        """The token of a session of somebody with a password, whose role is looked up each time; None where they were
        removed in the meantime.
        """
        return self._begin(name, Role.GUEST, name, None, now, now + SESSION_SECONDS)

    def begin(self, name: str, role: Role, now: float) -> str:
        """The token of a session of somebody whom another server knows."""
        token = self._begin(name, role, None, None, now, now + SESSION_SECONDS)
        assert token, "it refers to nobody who could be removed"
        return token

    def share_of(self, token: str, now: float) -> Share | None:
        """The link with this token; None where there is none, or no more."""
        row = self._database.execute(
            "select id, dashboard, expires_at from shares where token_hash = ? and expires_at > ?", (_hash(token), now)
        ).fetchone()
        return Share(id=row[0], dashboard=row[1], expires_at=row[2]) if row else None

    def begin_of_share(self, share: Share, now: float) -> str | None:
        """The token of a session of somebody who has the link; None where it was revoked in the meantime."""
        ends = min(share.expires_at, now + SESSION_SECONDS)
        return self._begin(f"link {share.id}", Role.GUEST, None, share.id, now, ends)

    def is_of_share(self, token: str, share: Share, now: float) -> bool:
        """Is it the token of a session of somebody who came by this link?"""
        found = self._database.execute(
            "select 1 from sessions where token_hash = ? and share = ? and expires_at > ?",
            (_hash(token), share.id, now),
        )
        return found.fetchone() is not None

    def visitor(self, token: str, now: float) -> Visitor | None:
        """Whose session it is, as of now; None when there is none, or not any more."""
        row = self._database.execute(VISITOR, (_hash(token), now, now)).fetchone()
        return Visitor(name=row[0], role=Role(row[1]), only=row[2]) if row else None

    def end(self, token: str) -> None:
        """Ends the session, if there is one."""
        self._database.execute("delete from sessions where token_hash = ?", (_hash(token),))

    def _begin(self, name: str, role: Role, user: str | None, share: str | None, now: float, ends: float) -> str | None:
        token = secrets.token_urlsafe(32)
        with self._changing():
            self._database.execute("delete from sessions where expires_at <= ?", (now,))
            self._database.execute(
                "delete from sessions where token_hash in (select token_hash from sessions"
                " where name = ? and share is ? order by began_at desc limit -1 offset ?)",
                (name, share, (MOST_GUESTS if share else MOST_SESSIONS) - 1),
            )
            values = (_hash(token), name, role, user, share, now, ends)
            try:
                self._database.execute("insert into sessions values (?, ?, ?, ?, ?, ?, ?)", values)
            except sqlite3.IntegrityError:  # the user or the link is gone
                return None
        return token

    # Links -------------------------------------------------------------------------------------------------------

    def share(self, dashboard: str, expires_at: float) -> Share:
        """A new link to the dashboard."""
        made = Share(
            id=secrets.token_hex(4), dashboard=dashboard, expires_at=expires_at, token=secrets.token_urlsafe(32)
        )
        values = (made.id, _hash(made.token), dashboard, expires_at)
        self._database.execute("insert into shares values (?, ?, ?, ?)", values)
        return made

    def shares(self, now: float) -> list[Share]:
        """Those that have not expired, the next to expire first."""
        rows = self._database.execute(
            "select id, dashboard, expires_at from shares where expires_at > ? order by expires_at", (now,)
        )
        return [Share(id=row[0], dashboard=row[1], expires_at=row[2]) for row in rows]

    def revoke(self, share: str) -> None:
        """Ends the link, and the sessions of those who came by it. Raises Misconfigured where there is none."""
        if not self._database.execute("delete from shares where id = ?", (share,)).rowcount:
            raise Misconfigured(f"there is no link {share}; `insights page shares` lists them")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._database.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._database.execute("rollback")
            raise
        self._database.execute("commit")


@contextmanager
def opened(folder: Path) -> Iterator[Access]:
    """For a command."""
    with closing(Access(folder)) as access:
        yield access


def hashed(password: str, salt: bytes | None = None, cost: tuple[int, int, int] | None = None) -> str:
    """By scrypt, with its cost and salt. Blocks for a tenth of a second."""
    salt = secrets.token_bytes(16) if salt is None else salt
    n, r, p = cost or COST
    made = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r * p, dklen=32)
    texts = (base64.b64encode(part).decode() for part in (salt, made))
    return "$".join(["scrypt", str(n), str(r), str(p), *texts])


def is_password(password: str, known: str | None) -> bool:
    """Is it the password that ``known`` was made of? Blocks as ``hashed`` does, also where there is nobody (None)."""
    _, n, r, p, salt, _ = (known or hashed_of_nobody()).split("$")
    made = hashed(password[: LONGEST_PASSWORD + 1], base64.b64decode(salt), (int(n), int(r), int(p)))
    return hmac.compare_digest(made, known or "")


def hashed_of_nobody() -> str:
    """What costs as much to compare with as anybody's."""
    return "$".join(["scrypt", *map(str, COST), "", ""])


def role_of(text: str) -> Role:
    """Raises Misconfigured when nobody can be given it."""
    if text not in ROLES:
        raise Misconfigured(f"there is no role {text}; there are {', '.join(ROLES)}")
    return Role(text)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
