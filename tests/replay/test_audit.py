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
        "made_at": "2026-05-04T10:00:00.000+00:00",
        "result": "equal",
        "code": "3f1c9b2e",
        "offsets": {"sales.orders": {"0": [0, 5], "1": [0, 4]}},
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


def exported(folder: Path, entries: list[audit.Entry]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / audit.CHAIN).write_text("".join(json.dumps(vars(entry)) + "\n" for entry in entries))
    return folder


def test_an_empty_chain_does_not_hold(tmp_path: Path) -> None:
    done = run_script(exported(tmp_path, []), "--key", CHAIN[0].key)
    assert done.returncode == 1
    assert done.stdout == "WRONG: the chain is empty: there is no certificate in it\n"


def test_without_a_key_nobody_is_told_that_all_holds(tmp_path: Path) -> None:
    done = run_script(exported(tmp_path, CHAIN))
    assert done.returncode == 0
    assert done.stdout.endswith("\nBy whom it was signed is not checked: no --key was given.\n")
    assert "All of it holds" not in done.stdout


def test_what_an_exported_certificate_says_is_printed_and_how_many_say_what(tmp_path: Path) -> None:
    different, new = a_certificate("r2"), a_certificate("r3")
    different["result"] = "different"
    different["aggregates"][0].update(different=5, mismatches=5, rows_on_either_side=7)
    different["sums_faults"] = {"sales.orders": {"missing_in_lake": 3, "twice_in_lake": 0}}
    new["result"], new["aggregates"][0]["is_new"] = "new", True
    entries = a_chain(KEY, [json.dumps(sealed(one)) for one in (a_certificate("r1"), different, new)])
    for run in ("r2", "r3"):
        (exported(tmp_path, entries) / run).mkdir()
        (tmp_path / run / f"{REFUNDED.name}.csv").write_text("")
    done = run_script(tmp_path, "--key", CHAIN[0].key)
    assert done.returncode == 0
    empty, ever = hashlib.sha256().hexdigest(), "0 rows of the beginning to the end"
    assert done.stdout.splitlines() == [
        f"certificates: 3 (1 different, 1 equal, 1 new), head {entries[-1].head}",
        f"signed with the key {CHAIN[0].key}",
        "r2 says different; made at 2026-05-04T10:00:00.000+00:00 by the code 3f1c9b2e",
        "r2 read sales.orders/0 0 to 5, sales.orders/1 0 to 4; THE LAKE LACKS 3 of these records",
        f"r2 refunded_goods_per_day: {ever}, 5 mismatches, SHA-256 {empty}",
        "r2: the rows of refunded_goods_per_day.csv are as certified",
        "r3 says new; made at 2026-05-04T10:00:00.000+00:00 by the code 3f1c9b2e",
        "r3 read sales.orders/0 0 to 5, sales.orders/1 0 to 4",
        f"r3 refunded_goods_per_day: {ever}, compared with nothing, SHA-256 {empty}",
        "r3: the rows of refunded_goods_per_day.csv are as certified",
        "All of it holds.",
    ]


@pytest.mark.parametrize(
    "body",
    ["\ud800", "[" * 200_000, '{"a":' * 200_000, "9" * 5_000, "NaN", "[]", "null", '"'],
    ids=["half a character", "brackets", "braces", "digits", "no number", "list", "null", "quote"],
)
def test_a_body_that_is_no_certificate_is_a_fault_and_no_error(body: str, tmp_path: Path) -> None:
    done = run_script(exported(tmp_path, [replace(CHAIN[0], body=body)]))
    assert (done.returncode, done.stderr) == (1, "")
    assert "WRONG: certificate 1: it can't be read as a certificate" in done.stdout


@pytest.mark.parametrize("name", sorted(a_certificate("r1").keys() - {"certificate"}))
@pytest.mark.parametrize("value", [None, 5, "x", [], ["x"], [[]], {"x": None}, "\ud800"])
def test_a_part_of_a_signed_certificate_that_is_something_else_is_a_fault_or_is_printed(
    name: str, value: object, tmp_path: Path
) -> None:
    found = a_certificate("r1")
    found[name] = value
    folder = exported(tmp_path, a_chain(KEY, [json.dumps(sealed(found))]))
    (folder / "r1").mkdir()
    good, faults = audit.check(folder, [CHAIN[0].key], [])
    assert faults or any("r1 says" in line for line in good)


def test_a_line_with_brackets_without_end_ends_the_script_with_2(tmp_path: Path) -> None:
    (tmp_path / audit.CHAIN).write_text("[" * 200_000)
    done = run_script(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"line 1 of {tmp_path / audit.CHAIN} is not a certificate of the chain: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*a_certificate("r1"), "x"]), inner),
    max_leaves=6,
)
BODIES = st.builds(
    lambda changed: json.dumps({**a_certificate("r1"), **changed}), JSON.filter(lambda j: isinstance(j, dict))
)
LINES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    JSON.map(json.dumps),
    st.builds(
        lambda number, body, key: json.dumps({**vars(CHAIN[0]), "number": number, "body": body, "key": key}),
        st.integers() | st.none(),
        BODIES | JSON.map(json.dumps),
        st.text(st.characters(codec=None), max_size=70) | st.just(CHAIN[0].key),
    ),
)


@given(st.lists(LINES, max_size=4))
def test_whatever_the_chain_is_it_has_faults_or_is_unreadable(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("chain")
    (folder / audit.CHAIN).write_text("\n".join(lines), encoding="utf-8")
    (folder / "r1").mkdir()
    (folder / "r1" / f"{REFUNDED.name}.csv").write_text("")
    try:
        _, faults = audit.check(folder, [], [])
    except audit.Unreadable:
        return
    assert faults
    assert all(audit.plain(fault).isascii() for fault in faults)


def test_nothing_in_a_chain_can_write_a_line_of_its_own(tmp_path: Path) -> None:
    key = "x\nAll of it holds.\r\x1b[2K\u2028\ud800"
    done = run_script(exported(tmp_path, [replace(CHAIN[0], key=key)]))
    assert (done.returncode, done.stderr) == (1, "")
    assert "All of it holds." not in done.stdout.splitlines()
    assert "signed with the key x\\nAll of it holds.\\r\\x1b[2K\\u2028\\ud800" in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--key", CHAIN[0].key.upper(), "is not a key: 64 digits, 0-9 or a-f"),
        ("--key", CHAIN[0].key[:-1], "is not a key: 64 digits, 0-9 or a-f"),
        ("--head", CHAIN[0].hash, "is not a head: a number, a colon, and 64 digits, 0-9 or a-f"),
        ("--head", f"0:{CHAIN[0].hash}", "is not a head: a number, a colon, and 64 digits, 0-9 or a-f"),
    ],
)
def test_what_is_no_key_or_head_is_refused_before_anything_is_checked(
    option: str, value: str, said: str, tmp_path: Path
) -> None:
    done = run_script(exported(tmp_path, CHAIN), option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{value} {said}" in done.stderr


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_key_is_made_once_for_its_owner_only_also_when_two_ask_at_once(tmp_path: Path) -> None:
    folder, found = tmp_path / "replay", set()

    def ask() -> None:
        certificates.make_key(folder)
        found.add(certificates.public_key(folder))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"short")
    with pytest.raises(Misconfigured, match="is not a key for certificates, which is 32 bytes long"):
        certificates.public_key(folder)


def test_transactions_that_append_at_once_make_one_chain(new_database: Callable[[], str]) -> None:
    dsn = new_database()
    with psycopg.connect(dsn) as connection:
        made_runs.make_tables(connection)

    def verify(n: int) -> None:
        with psycopg.connect(dsn) as connection:
            for m in range(5):
                certificates.append(connection, KEY, a_certificate(f"r{n}", rows=m))
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
        certificates.append(connection, KEY, a_certificate("r1", rows, digest))
        written = list(certificates.export(connection, folder, {"r1": {REFUNDED.name: relation}}))
        with pytest.raises(Misconfigured, match="exists; name a new folder"):
            list(certificates.export(connection, folder, {}))
    csv = folder / "r1" / f"{REFUNDED.name}.csv"
    assert written == [folder / audit.CHAIN, csv]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "r1")} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    done = run_script(folder, "--key", CHAIN[0].key)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"r1: the rows of {csv.name} are as certified\nAll of it holds.\n" in done.stdout

    content = csv.read_text()
    csv.write_bytes(content.encode().replace(b"Bikes", b"B\xefkes"))
    assert f"WRONG: {csv} has as many rows as r1 certifies, but not the same" in run_script(folder).stdout
    csv.write_text(content.replace(",2,", ",20,"))
    done = run_script(folder)
    assert done.returncode == 1
    assert f"WRONG: {csv} has as many rows as r1 certifies, but not the same" in done.stdout
    csv.write_text("")
    assert f"WRONG: {csv} has 0 rows; r1 certifies 1" in run_script(folder).stdout
    csv.rename(folder / "r1" / "other.csv")
    assert "other.csv: r1 certifies no such table" in run_script(folder).stdout
    (folder / "r1").rename(folder / "r2")
    assert "there is no certificate of r2 in the chain" in run_script(folder).stdout
