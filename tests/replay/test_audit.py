"""Certificates are signed and chained, and what is changed afterwards is found, with Python alone."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from aggregates.catalogue import aggregate
from replay import audit, certificates
from replay.compare import canonical_hash
from replay.plan_file import Stretch
from schemas.errors import Misconfigured
from tests.web import made_runs

SCRIPT = Path(audit.__file__)
REFUNDED = aggregate("refunded_goods_per_day")
EVER = [Stretch(since=None, until=None)]


def a_certificate(run: str, rows: int = 0, sha256: str = hashlib.sha256().hexdigest()) -> dict[str, Any]:
    found = {
        "certificate": 1,
        "run": run,
        "result": "equal",
        "sums": {"sales.orders": {"published": 9, "counted": 5, "duplicate": 2, "late": 1, "dead": 1}},
        "sums_faults": {},
        "aggregates": [
            {
                "name": REFUNDED.name,
                "windows": [s.model_dump(mode="json") for s in EVER],
                "rows": rows,
                "sha256": sha256,
                "rows_on_either_side": rows + 2,
                "equal": rows,
                "different": 0,
                "only_in_replay": 0,
                "only_in_live": 0,
                "mismatches": 0,
                "excluded": {"affected by events after the offsets": 2},
            }
        ],
    }
    return sealed(found)


def sealed(found: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in found.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def a_chain(key: Ed25519PrivateKey, bodies: list[str]) -> list[audit.Entry]:
    public, previous, found = key.public_key().public_bytes_raw().hex(), audit.FIRST, []
    for number, body in enumerate(bodies, 1):
        digest = audit.hash_of(number, previous, public, body)
        signature = key.sign(bytes.fromhex(digest)).hex()
        found.append(
            audit.Entry(number=number, previous=previous, key=public, body=body, hash=digest, signature=signature)
        )
        previous = digest
    return found


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CHAIN = a_chain(KEY, [json.dumps(a_certificate(f"r{n}"), sort_keys=True) for n in range(1, 6)])


def test_the_check_is_one_file_of_at_most_300_lines_that_imports_nothing_but_the_standard_library() -> None:
    source = SCRIPT.read_text()
    assert len(source.splitlines()) <= 300
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= set(sys.stdlib_module_names)


@given(message=st.binary(max_size=100), seed=st.binary(min_size=32, max_size=32), flip=st.integers(0, 511))
def test_signatures_of_another_implementation_are_right_and_wrong_with_one_bit_changed(
    message: bytes, seed: bytes, flip: int
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature, digest = bytearray(key.sign(message)), message.hex()
    entry = audit.Entry(1, audit.FIRST, key.public_key().public_bytes_raw().hex(), "{}", digest, signature.hex())
    assert audit.is_signed(entry)
    signature[flip // 8] ^= 1 << flip % 8
    assert not audit.is_signed(replace(entry, signature=signature.hex()))


@pytest.mark.parametrize("field", ["key", "signature"])
def test_what_is_no_key_or_signature_is_not_right_and_no_error(field: str) -> None:
    for value in ("", "ab", "zz" * 32, "ff" * 32, "ff" * 64, "00" * 64):
        assert not audit.is_signed(replace(CHAIN[0], **{field: value}))


def test_a_chain_as_it_was_signed_has_no_fault() -> None:
    assert list(audit.chain_faults(CHAIN)) == []
    assert list(audit.chain_faults(CHAIN, [CHAIN[0].key])) == []
    assert list(audit.head_faults(CHAIN, CHAIN[2].head)) == []


@given(place=st.integers(0, 4), field=st.sampled_from(["previous", "key", "body", "hash", "signature"]), at=st.data())
def test_any_character_that_is_changed_is_found(place: int, field: str, at: st.DataObject) -> None:
    text = getattr(CHAIN[place], field)
    position = at.draw(st.integers(0, len(text) - 1))
    other = "0" if text[position] != "0" else "1"
    changed = [*CHAIN]
    changed[place] = replace(CHAIN[place], **{field: text[:position] + other + text[position + 1 :]})
    assert list(audit.chain_faults(changed))


@given(st.permutations(range(5)), st.integers(1, 5))
def test_certificates_that_were_moved_or_removed_are_found(order: list[int], kept: int) -> None:
    changed = [CHAIN[n] for n in order[:kept]]
    faults = [*audit.chain_faults(changed), *audit.head_faults(changed, CHAIN[4].head)]
    assert bool(faults) == (changed != CHAIN)


def test_a_chain_written_anew_with_another_key_is_found_by_the_key_and_by_the_head_that_was_noted() -> None:
    forged = a_chain(Ed25519PrivateKey.generate(), [entry.body for entry in CHAIN])
    assert list(audit.chain_faults(forged)) == []
    assert len(list(audit.chain_faults(forged, [CHAIN[0].key]))) == 5
    (fault,) = audit.head_faults(forged, CHAIN[4].head)
    assert fault == "certificate 5 has another hash than was noted: the chain was written anew"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["aggregates"][0].update(equal=1), "the rows of refunded_goods_per_day do not add up"),
        (lambda c: c["aggregates"][0].update(mismatches=1), "the mismatches of refunded_goods_per_day do not add up"),
        (
            lambda c: c["aggregates"][0].update(different=1, equal=-1, mismatches=1),
            "it says equal, and refunded_goods_per_day differ",
        ),
        (lambda c: c["sums"]["sales.orders"].update(late=0), "9 published, 8 accounted for"),
        (lambda c: c.pop("sums"), "it can't be read as a certificate (KeyError: 'sums')"),
    ],
)
def test_a_certificate_whose_counts_contradict_each_other_is_found_though_it_is_signed(
    change: Callable[[dict[str, Any]], object], said: str
) -> None:
    certificate = a_certificate("r1")
    change(certificate)
    (entry,) = a_chain(KEY, [json.dumps(sealed(certificate))])
    faults = list(audit.chain_faults([entry]))
    assert any(said in fault for fault in faults), faults


def test_records_that_the_certificate_itself_says_the_lake_lacks_are_no_fault_of_the_certificate() -> None:
    certificate = a_certificate("r1")
    certificate["sums"]["sales.orders"]["late"] = 0
    certificate["sums_faults"] = {"sales.orders": {"missing_in_lake": 1, "twice_in_lake": 0}}
    assert list(audit.chain_faults(a_chain(KEY, [json.dumps(sealed(certificate))]))) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"number": "1"}', "\x00", "null", '"r1"'])
def test_a_chain_that_can_not_be_read_ends_the_script_with_2_and_the_line(text: str, tmp_path: Path) -> None:
    good = json.dumps(vars(CHAIN[0]))
    (tmp_path / audit.CHAIN).write_text(f"{good}\n{text}\n")
    done = run_script(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"line 2 of {tmp_path / audit.CHAIN} is not a certificate of the chain: ")


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_key_is_made_once_for_its_owner_only_also_when_two_ask_at_once(tmp_path: Path) -> None:
    folder, found = tmp_path / "replay", set()
    threads = [threading.Thread(target=lambda: found.add(certificates.public_key(folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"short")
    with pytest.raises(Misconfigured, match="is not a key for certificates, which is 32 bytes long"):
        certificates.signing_key(folder)


def test_transactions_that_append_at_once_make_one_chain(new_database: Callable[[], str]) -> None:
    dsn = new_database()
    with psycopg.connect(dsn) as connection:
        made_runs.make_tables(connection)

    def verify(n: int) -> None:
        with psycopg.connect(dsn) as connection:
            for m in range(5):
                certificates.append(connection, KEY, f"r{n}", a_certificate(f"r{n}", rows=m))
                connection.commit()

    threads = [threading.Thread(target=verify, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(dsn) as connection:
        found = list(certificates.chain(connection))
    assert [entry.number for entry in found] == list(range(1, 21))
    assert list(audit.chain_faults(found)) == []


def test_an_export_is_checked_by_the_script_alone_down_to_a_cell(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    folder, relation = tmp_path / "export", REFUNDED.sink
    with psycopg.connect(new_database()) as connection:
        connection.execute("set time zone 'UTC'")
        made_runs.make_tables(connection)
        values = (made_runs.MIDNIGHT, "EU", 'Bikes, "new"\nand old')
        connection.execute(f"insert into {relation} values (%s, %s, %s, 1, 2, 3)".encode(), values)
        rows, digest = canonical_hash(connection, REFUNDED, relation, EVER)
        certificates.append(connection, KEY, "r1", a_certificate("r1", rows, digest))
        written = list(certificates.export(connection, folder, {"r1": {REFUNDED.name: relation}}))
        with pytest.raises(Misconfigured, match="exists; name a new folder"):
            list(certificates.export(connection, folder, {}))
    csv = folder / "r1" / f"{REFUNDED.name}.csv"
    assert written == [folder / audit.CHAIN, csv]
    done = run_script(folder, "--key", CHAIN[0].key)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"r1: the rows of {csv.name} are as certified\nAll of it holds.\n" in done.stdout

    csv.write_text(csv.read_text().replace(",2,", ",20,"))
    done = run_script(folder)
    assert done.returncode == 1
    assert f"WRONG: {csv} has as many rows as r1 certifies, but not the same" in done.stdout
    csv.write_text("")
    assert f"WRONG: {csv} has 0 rows; r1 certifies 1" in run_script(folder).stdout
    csv.rename(folder / "r1" / "other.csv")
    assert "other.csv: r1 certifies no such table" in run_script(folder).stdout
    (folder / "r1").rename(folder / "r2")
    assert "there is no certificate of r2 in the chain" in run_script(folder).stdout
