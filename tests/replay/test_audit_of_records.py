"""`insights audit check`: what someone who may change the database can't do unseen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from insights.cli.main import app
from replay import certificates, run_history
from replay.audit import Entry
from replay.run_history import Status
from schemas.errors import Misconfigured
from tests.replay.test_audit import REFUNDED, a_certificate
from tests.web import made_runs
from warehouse.postgres import Connection

ALL_HOLDS = "All of it holds."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replay"


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn) as connection:
        made_runs.make_tables(connection)
        connection.commit()
        yield connection


@pytest.fixture
def insights(dsn: str, connection: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, on the tables of ``connection``."""
    context = SimpleNamespace(work_dir=folder, postgres=lambda: psycopg.connect(dsn))
    monkeypatch.setattr("insights.wiring.replay_context", lambda _settings: context)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def computed(connection: Connection, *, certificate: dict[str, object] | None = None) -> str:
    plan = made_runs.a_plan([REFUNDED.name], "beginning", 165, made_runs.NOW - timedelta(hours=1))
    run = made_runs.computed(connection, plan, "duckdb", 3.0).run
    if certificate is not None:
        certificate = {**certificate, "run": run}
        run_history.note(connection, run, status=Status.VERIFIED, verified_at=True, certificate=certificate)
    connection.commit()
    return run


def verified(connection: Connection, folder: Path, run: str | None = None, rows: int = 0) -> Entry:
    run = run or computed(connection)
    found = a_certificate(run, rows)
    entry = certificates.append(connection, certificates.signing_key(connection, folder), found)
    run_history.note(connection, run, status=Status.VERIFIED, verified_at=True, certificate=found)
    connection.commit()
    return entry


def forge(connection: Connection, run: str, rows: int = 77) -> None:
    run_history.note(connection, run, certificate=a_certificate(run, rows))
    connection.commit()


def checked(connection: Connection, folder: Path, **expected: object) -> tuple[list[str], list[str]]:
    return certificates.check(connection, folder, **expected)  # type: ignore[arg-type]


def test_certificates_and_records_as_they_were_written_hold(connection: Connection, folder: Path) -> None:
    first = verified(connection, folder)
    last = verified(connection, folder, run="r1", rows=5)
    assert checked(connection, folder, heads=[first.head, last.head]) == (
        [f"certificates: 2 (2 equal), head {last.head}", ALL_HOLDS],
        [],
    )


@pytest.mark.parametrize("verified_at", ["verified_at", "'2000-01-01'", "null"])
def test_a_record_that_was_changed_is_found_whenever_it_says_that_it_was_made(
    connection: Connection, folder: Path, verified_at: str
) -> None:
    for _ in range(3):
        verified(connection, folder)
    forge(connection, "r2")
    connection.execute(f"update ops.replays set verified_at = {verified_at} where run = 'r2'".encode())
    connection.commit()
    told, faults = checked(connection, folder)
    assert faults == ["r2: the certificate in its record is not the newest that was signed"]
    assert ALL_HOLDS not in told


def test_an_older_certificate_of_a_run_and_another_runs_are_not_its_own(connection: Connection, folder: Path) -> None:
    verified(connection, folder)
    verified(connection, folder)
    verified(connection, folder, run="r1", rows=3)
    forge(connection, "r1", rows=0)
    run_history.note(connection, "r2", certificate=a_certificate("r1", 3))
    connection.commit()
    assert checked(connection, folder)[1] == [
        "r1: the certificate in its record is not the newest that was signed",
        "r2: the certificate in its record is not the newest that was signed",
    ]


def test_nothing_in_the_table_of_certificates_is_unsigned(connection: Connection, folder: Path) -> None:
    verified(connection, folder)
    rows = connection.execute(
        "select column_name from information_schema.columns"
        " where table_schema = 'ops' and table_name = 'certificates' order by ordinal_position"
    ).fetchall()
    assert [name for (name,) in rows] == ["number", "previous", "key", "body", "hash", "signature"]


def test_a_certificate_that_was_never_signed_is_named_unless_its_run_may_be_without(
    connection: Connection, folder: Path
) -> None:
    before = [computed(connection, certificate=a_certificate("")) for _ in range(2)]
    assert before == ["r1", "r2"]
    verified(connection, folder)
    computed(connection, certificate=a_certificate(""))
    said = [f"{run}: the certificate in its record was never signed" for run in ("r1", "r2", "r4")]
    assert checked(connection, folder)[1] == said
    told, faults = checked(connection, folder, unsigned_to="r2")
    assert (told[1], faults) == ("never signed, as --unsigned-to allows: r1, r2", [said[2]])
    connection.execute("update ops.replays set run = 'r0x' where run = 'r4'")
    assert checked(connection, folder, unsigned_to="r2")[1] == ["r0x: the certificate in its record was never signed"]
    connection.execute("delete from ops.replays where run = 'r0x'")
    told, faults = checked(connection, folder, unsigned_to="r2")
    assert (told[-1], faults) == (ALL_HOLDS, [])


def test_a_run_that_may_be_without_a_signed_certificate_and_has_one_is_checked(
    connection: Connection, folder: Path
) -> None:
    verified(connection, folder)
    forge(connection, "r1")
    assert len(checked(connection, folder, unsigned_to="r1")[1]) == 1


def test_a_record_that_was_removed_is_found(connection: Connection, folder: Path) -> None:
    verified(connection, folder)
    verified(connection, folder)
    connection.execute("delete from ops.replays where run = 'r1'")
    connection.execute("update ops.replays set certificate = null where run = 'r2'")
    assert checked(connection, folder)[1] == [
        "r1: a certificate was signed, and there is no record of the run",
        "r2: the certificate in its record is not the newest that was signed",
    ]


def test_a_chain_that_was_removed_does_not_hold(connection: Connection, folder: Path) -> None:
    head = verified(connection, folder).head
    connection.execute("delete from ops.certificates")
    told, faults = checked(connection, folder, heads=[head])
    assert told == ["no certificate was signed yet: there is nothing to check"]
    assert faults == [
        "certificate 1, which was noted, is not in the chain: its end was removed",
        "r1: the certificate in its record was never signed",
        "there is a key, but no certificate: all were removed, or the first verification was cut off",
    ]
    connection.execute("delete from ops.replays")
    assert checked(connection, folder)[1] == faults[2:]
    certificates.key_file(folder).unlink()
    assert checked(connection, folder) == (told, [])


def test_a_chain_that_another_key_signed_does_not_hold_unless_the_key_is_named(
    connection: Connection, folder: Path
) -> None:
    verified(connection, folder)
    own, other = certificates.public_key(folder), Ed25519PrivateKey.generate()
    connection.execute("delete from ops.certificates")
    certificates.append(connection, other, a_certificate("r1", 77))
    forge(connection, "r1")
    theirs = other.public_key().public_bytes_raw().hex()
    told, faults = checked(connection, folder)
    assert faults == [f"certificate 1 is signed with the key {theirs}, which is none of those that may sign"]
    assert ALL_HOLDS not in told
    assert checked(connection, folder, keys=[theirs])[1] == []
    assert checked(connection, folder, keys=[own])[1] == faults


@pytest.mark.parametrize("body", ["{", "[]", "null", "[" * 200_000], ids=["brace", "list", "null", "brackets"])
def test_a_body_that_was_damaged_hides_no_other_fault(connection: Connection, folder: Path, body: str) -> None:
    for _ in range(3):
        verified(connection, folder)
    forge(connection, "r3")
    connection.execute("update ops.certificates set body = %s where number = 2", (body,))
    faults = checked(connection, folder)[1]
    assert "certificate 2 was changed after it was signed: its hash is another" in faults
    assert "r2: the certificate in its record was never signed" in faults
    assert "r3: the certificate in its record is not the newest that was signed" in faults


def test_looking_makes_no_key_and_a_lost_one_is_not_replaced(
    connection: Connection, folder: Path, insights: Callable[..., Result]
) -> None:
    for command in ("key", "check"):
        insights("audit", command)
        assert not folder.exists()
    entry = verified(connection, folder)
    file = certificates.key_file(folder)
    file.rename(folder / "kept")
    lost = f"{file}, the key that certificates are signed with, is missing"
    with pytest.raises(Misconfigured, match=re.escape(lost)):
        certificates.signing_key(connection, folder)
    for command in ("key", "check"):
        done = insights("audit", command)
        assert done.exit_code == 1
        assert lost in done.output
    assert not file.exists()
    assert insights("audit", "check", "--key", entry.key).output.endswith(f"{ALL_HOLDS}\n")
    other = insights("audit", "new-key").output.strip()
    assert other == certificates.public_key(folder) != entry.key
    assert "is there. Move it away first" in insights("audit", "new-key").output
    verified(connection, folder)
    assert "which is none of those that may sign" in insights("audit", "check").output
    assert insights("audit", "check", "--key", entry.key).exit_code == 0


def test_the_command_prints_each_fault_and_fails(
    connection: Connection, folder: Path, insights: Callable[..., Result]
) -> None:
    head = verified(connection, folder).head
    assert insights("audit", "check", "--head", head).output.splitlines() == [
        f"certificates: 1 (1 equal), head {head}",
        ALL_HOLDS,
    ]
    forge(connection, "r1")
    done = insights("audit", "check")
    assert done.exit_code == 1
    assert "WRONG: r1: the certificate in its record is not the newest that was signed" in done.output.splitlines()
    assert "1 fault found; docs/replay.md#audit says what each may mean" in done.output
    assert ALL_HOLDS not in done.output


def test_an_installation_that_has_signed_nothing_is_not_told_that_all_holds(insights: Callable[..., Result]) -> None:
    done = insights("audit", "check")
    assert (done.exit_code, done.output) == (0, "no certificate was signed yet: there is nothing to check\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--key", "AB" * 32), ("--key", "x"), ("--head", "ab" * 32), ("--unsigned-to", "41"), ("--unsigned-to", "r")],
)
def test_what_is_no_key_head_or_run_is_a_wrong_use_of_the_command(
    option: str, value: str, insights: Callable[..., Result]
) -> None:
    done = insights("audit", "check", option, value)
    assert done.exit_code == 2
    assert "is not a" in " ".join(done.output.split())


def test_an_export_that_fails_leaves_no_folder_and_can_be_repeated(
    connection: Connection, folder: Path, tmp_path: Path
) -> None:
    verified(connection, folder)
    export = tmp_path / "for" / "the auditor"
    with pytest.raises(Misconfigured, match="r9 has no signed certificate"):
        list(certificates.export(connection, export, {"r9": {REFUNDED.name: REFUNDED.sink}}))
    assert not export.exists()
    with pytest.raises(psycopg.errors.UndefinedTable):
        list(certificates.export(connection, export, {"r1": {REFUNDED.name: "live.nothing"}}))
    connection.rollback()
    assert not export.exists()
    assert list(certificates.export(connection, export, {}))
