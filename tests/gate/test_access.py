"""Users, sessions and links in their file."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.gate import access
from dashboards.gate.access import FILE, MOST_SESSIONS, SESSION_SECONDS, Access, hashed, is_password, opened
from dashboards.gate.attempts import MOST_KEYS, PER_NAME, Attempts
from dashboards.visitor import ROLES, Role, Visitor
from schemas.errors import Misconfigured
from tests.gate.serving import PASSWORD, Clock

NOW = 1_790_000_000.0


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Access]:
    monkeypatch.setattr(access, "COST", (16, 8, 1))
    with opened(tmp_path / "page") as found:
        yield found


def test_only_its_owner_may_read_the_file(known: Access, tmp_path: Path) -> None:
    known.put_user("anna", Role.VIEWER, PASSWORD)
    assert stat.S_IMODE((tmp_path / "page" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o700


def test_neither_a_password_nor_a_token_is_in_the_file(known: Access, tmp_path: Path) -> None:
    known.put_user("anna", Role.VIEWER, PASSWORD)
    tokens = [known.begin_of_user("anna", NOW), known.share("stock", NOW + 9).token]
    written = (tmp_path / "page" / FILE).read_bytes()
    assert b"anna" in written
    assert not [secret for secret in (PASSWORD, *tokens) if secret.encode() in written]


def test_a_password_costs_what_owasp_asks_for_and_its_hash_says_so() -> None:
    made = hashed(PASSWORD)
    assert made.startswith("scrypt$32768$8$1$")
    assert is_password(PASSWORD, made)
    assert not is_password(PASSWORD.upper(), made)
    assert hashed(PASSWORD) != made


def test_a_hash_of_a_former_cost_is_still_known_and_nobody_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "COST", (16, 8, 1))
    former = hashed(PASSWORD)
    monkeypatch.setattr(access, "COST", (32, 8, 1))
    assert is_password(PASSWORD, former)
    for tried in ("", PASSWORD, "x" * 5000):
        assert not is_password(tried, None)


@pytest.mark.parametrize("name", ["", "Anna", "a b", "-a", "a" * 65, "a'b", "é", "a\n"])
def test_a_name_that_could_be_mistaken_is_refused(known: Access, name: str) -> None:
    with pytest.raises(Misconfigured, match="can't be a user's name"):
        known.put_user(name, Role.VIEWER, PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_refused(known: Access, password: str) -> None:
    with pytest.raises(Misconfigured, match="12 to 1024 characters"):
        known.put_user("anna", Role.VIEWER, password)
    assert known.users() == []


def test_whoever_is_not_there_can_be_neither_removed_nor_revoked(known: Access) -> None:
    with pytest.raises(Misconfigured, match="no user nobody"):
        known.remove_user("nobody")
    with pytest.raises(Misconfigured, match="no link x"):
        known.revoke("x")


def test_a_session_ends_after_twelve_hours_and_the_oldest_before_there_are_too_many(known: Access) -> None:
    first, *others = [known.begin("anna", Role.ANALYST, NOW + n) for n in range(MOST_SESSIONS + 1)]
    assert known.visitor(first, NOW) is None
    assert known.visitor(others[0], NOW) == Visitor(name="anna", role=Role.ANALYST)
    assert known.visitor(others[0], NOW + 1 + SESSION_SECONDS) is None


def test_a_links_session_ends_no_later_than_the_link(known: Access) -> None:
    share = known.share("stock", NOW + 60)
    assert [one.id for one in known.shares(NOW)] == [share.id]
    found = known.begin_of_share(share, NOW)
    assert found
    assert known.visitor(found, NOW + 59) == Visitor(name=f"link {share.id}", role=Role.GUEST, only="stock")
    assert known.visitor(found, NOW + 60) is None
    assert known.share_of(share.token, NOW + 60) is None
    assert known.shares(NOW + 60) == []


def test_a_link_has_a_number_of_sessions_and_a_persons_name_ends_none_of_them(
    known: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_GUESTS", 30)
    share = known.share("stock", NOW + 600)
    first, *others = [known.begin_of_share(share, NOW + n) for n in range(31)]
    for number in range(MOST_SESSIONS + 1):
        known.begin(f"link {share.id}", Role.VIEWER, NOW + 100 + number)
    assert first
    assert known.visitor(first, NOW) is None
    assert all(token and known.visitor(token, NOW) for token in others)


def test_who_is_removed_while_they_log_in_has_no_session_and_so_has_a_link(known: Access) -> None:
    share = known.share("stock", NOW + 60)
    known.revoke(share.id)
    assert known.begin_of_share(share, NOW) is None
    assert known.begin_of_user("nobody", NOW) is None
    assert known.begin("anna", Role.VIEWER, NOW)


def test_each_role_may_what_those_below_it_may() -> None:
    assert [role for role in ROLES if Visitor(name="x", role=role).may_export] == [Role.ANALYST, Role.OPERATOR]
    assert [role for role in ROLES if Visitor(name="x", role=role).may_see("operations", Role.OPERATOR)] == [
        Role.OPERATOR
    ]
    guest = Visitor(name="x", role=Role.GUEST, only="operations")
    assert guest.may_see("operations", Role.OPERATOR)
    assert not guest.may_see("stock", Role.VIEWER)
    assert not guest.may_export


def test_what_the_gate_says_of_a_visitor_is_what_the_page_reads() -> None:
    told = Visitor(name="é\n", role=Role.ANALYST)
    assert told.header.isascii()
    assert "\n" not in told.header
    assert Visitor.in_headers({"X-Insights-Visitor": told.header}) == told
    assert Visitor.in_headers({}) is None


def test_attempts_on_endless_names_take_no_endless_memory() -> None:
    attempts = Attempts(Clock())
    for number in range(MOST_KEYS + 100):
        attempts.failed(f"n{number}", "6.6.6.6")
    assert len(attempts._failed) <= MOST_KEYS
    for _ in range(PER_NAME):
        attempts.failed("anna", "7.7.7.7")
    assert attempts.wait_seconds("anna", "8.8.8.8") == 900
