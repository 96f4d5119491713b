"""Checks the certificates of replays, and exported tables against them: Python's standard library only, and no stack.

    python3 audit.py FOLDER [--key HEX …] [--head NUMBER:HASH]

FOLDER is what `insights audit export` writes: ``chain.jsonl``, and rows as ``RUN/TABLE.csv``. Take this file from the
project itself, and the key from the one who signs: a folder that was forged may hold a forged copy of both.

Each line of the chain is one certificate, with the hash of the line before it and a signature (Ed25519, RFC 8032).
Exits with 0 when all holds, with 1 when something doesn't, with 2 when the folder can't be read. A certificate that
holds may say that tables differ: what it says is printed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAIN = "chain.jsonl"
FIRST = "0" * 64
"""What the first certificate has in place of the hash of the one before it."""

# The curve of Ed25519: -x² + y² = 1 + d·x²·y², modulo P. A point is (X, Y, Z, T): x = X/Z, y = Y/Z, x·y = T/Z.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


@dataclass(frozen=True)
class Entry:
    """A line of the chain. ``body`` is the certificate's JSON; hashes, key and signature are hexadecimal."""

    number: int
    previous: str
    key: str
    body: str
    hash: str
    signature: str

    @property
    def head(self) -> str:
        """What to note of a chain that ends with it."""
        return f"{self.number}:{self.hash}"

    @property
    def certificate(self) -> dict[str, Any]:
        """What the body says. Raises ValueError or RecursionError when that is no JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def hash_of(number: int, previous: str, key: str, body: str) -> str:
    """What a line's ``hash`` must be, and what is signed (its 32 bytes)."""
    return hashlib.sha256(f"{number}\n{previous}\n{key}\n{body}".encode(errors="surrogatepass")).hexdigest()


def chain_faults(entries: Iterable[Entry], keys: Sequence[str] = ()) -> Iterator[str]:
    """What is wrong with numbers, hashes and signatures. With ``keys``, only these may have signed."""
    previous, number = FIRST, 0
    for entry in entries:
        number += 1
        where = f"certificate {entry.number}"
        if entry.number != number:
            yield f"{where} stands where number {number} belongs: certificates were removed, added or moved"
            number = entry.number
        if entry.previous != previous:
            yield f"{where} does not continue the one before it: one of the two was changed or removed"
        if entry.hash != hash_of(entry.number, entry.previous, entry.key, entry.body):
            yield f"{where} was changed after it was signed: its hash is another"
        if keys and entry.key not in keys:
            yield f"{where} is signed with the key {entry.key}, which is none of those that may sign"
        if not is_signed(entry):
            yield f"{where}: the signature is not one of the key {entry.key}"
        yield from (f"{where}: {fault}" for fault in body_faults(entry))
        previous = entry.hash


def body_faults(entry: Entry) -> Iterator[str]:
    """What is wrong within one certificate: its own hash, and the sums of its counts."""
    try:
        yield from _certificate_faults(entry.certificate)
        list(said(entry.certificate))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield f"it can't be read as a certificate ({type(error).__name__}: {error})"


def _certificate_faults(certificate: Mapping[str, Any]) -> Iterator[str]:
    rest = {name: value for name, value in certificate.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != certificate["sha256"]:
        yield "its `sha256` is not that of its content"
    for one in certificate["aggregates"]:
        name, parts = one["name"], ("equal", "different", "only_in_replay", "only_in_live")
        if one["rows_on_either_side"] != sum(one[part] for part in parts) + sum(one["excluded"].values()):
            yield f"the rows of {name} do not add up"
        if one["mismatches"] != one["different"] + one["only_in_replay"] + one["only_in_live"]:
            yield f"the mismatches of {name} do not add up"
    unequal = [one["name"] for one in certificate["aggregates"] if one["mismatches"]]
    if certificate["result"] == "equal" and unequal:
        yield f"it says equal, and {', '.join(unequal)} differ"
    for topic, sums in certificate["sums"].items():
        counted = sums["counted"] + sums["duplicate"] + sums["late"] + sums["dead"]
        if sums["published"] != counted and topic not in certificate["sums_faults"]:
            yield f"the records of {topic} do not add up: {sums['published']} published, {counted} accounted for"


def said(certificate: Mapping[str, Any]) -> Iterator[str]:
    """What a certificate says, in words. Raises KeyError, TypeError or the like when it lacks something."""
    run, offsets = "" + certificate["run"], certificate["offsets"].items()
    places = ", ".join(f"{topic}/{n} {ends[0]} to {ends[1]}" for topic, found in offsets for n, ends in found.items())
    lacking = sum(faults["missing_in_lake"] for faults in certificate["sums_faults"].values())
    yield f"{run} says {certificate['result']}; made at {certificate['made_at']} by the code {certificate['code']}"
    yield f"{run} read {places or 'nothing'}" + (f"; THE LAKE LACKS {lacking} of these records" if lacking else "")
    for one in certificate["aggregates"]:
        windows = ", ".join(f"{w['since'] or 'the beginning'} to {w['until'] or 'the end'}" for w in one["windows"])
        compared = "compared with nothing" if one.get("is_new") else f"{one['mismatches']} mismatches"
        yield f"{run} {one['name']}: {one['rows']} rows of {windows}, {compared}, SHA-256 {one['sha256']}"


def newest(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """By run, its newest certificate. One that can't be read is passed over: ``chain_faults`` names it."""
    return {entry.certificate["run"]: entry.certificate for entry in entries if not list(body_faults(entry))}


def summary(entries: Sequence[Entry]) -> str:
    """How many certificates there are, what they say, and the head to note."""
    found = Counter(str(entry.certificate["result"]) for entry in entries if not list(body_faults(entry)))
    results = ", ".join(f"{count} {result}" for result, count in sorted(found.items()))
    return f"certificates: {len(entries)} ({results}), head {entries[-1].head}"


def rows_fault(file: Path, run: str, certified: Mapping[str, Any] | None) -> str:
    """How a file of rows differs from what the certificate of ``run`` says of its table; empty when it does not."""
    if certified is None:
        return f"{file}: {run} certifies no such table"
    digest = hashlib.sha256()
    with file.open("rb") as blocks:
        for block in iter(lambda: blocks.read(1 << 20), b""):
            digest.update(block)
    csv.field_size_limit(1 << 30)
    with file.open(newline="", encoding="utf-8", errors="replace") as text:
        rows = sum(1 for _ in csv.reader(text))
    if rows != certified["rows"]:
        return f"{file} has {rows} rows; {run} certifies {certified['rows']}"
    is_same = digest.hexdigest() == certified["sha256"]
    return "" if is_same else f"{file} has as many rows as {run} certifies, but not the same: {digest.hexdigest()}"


def is_signed(entry: Entry) -> bool:
    """Is the signature of the entry's hash one of the entry's key? Ed25519 (RFC 8032, 5.1.7): S·B = R + k·A."""
    try:
        key, message, signature = (bytes.fromhex(text) for text in (entry.key, entry.hash, entry.signature))
        a, r = _point(key), _point(signature[:32])
    except ValueError:
        return False
    s = int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    one, other = _times(s, BASE), _sum(r, _times(k, a))
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (one[1] * other[2] - other[1] * one[2]) % P == 0


def _point(encoded: bytes) -> Point:
    y = int.from_bytes(encoded, "little")
    is_odd, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        raise ValueError("no point of the curve")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and is_odd):
        raise ValueError("no point of the curve")
    if x & 1 != is_odd:
        x = P - x
    return x, y, 1, x * y % P


def _sum(one: Point, other: Point) -> Point:
    a, b = (one[1] - one[0]) * (other[1] - other[0]), (one[1] + one[0]) * (other[1] + other[0])
    c, d = 2 * one[3] * other[3] * D, 2 * one[2] * other[2]
    e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(factor: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            found = _sum(found, point)
        point, factor = _sum(point, point), factor >> 1
    return found


BASE = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


class Unreadable(Exception):
    """The folder, or a line of its chain, can't be read; the message says which and why."""


def read_chain(file: Path) -> list[Entry]:
    """The chain's lines. Raises Unreadable."""
    found = []
    try:
        lines = file.read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{file} can't be read: {error}") from error
    for place, line in enumerate(lines if lines != [""] else [], 1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise Unreadable(f"line {place} of {file} is not a certificate of the chain: {error}") from error
        if not isinstance(entry.number, int) or not all(isinstance(v, str) for v in list(vars(entry).values())[1:]):
            raise Unreadable(f"line {place} of {file} is not a certificate of the chain: a value has another type")
        found.append(entry)
    return found


def head_faults(entries: Sequence[Entry], head: str) -> Iterator[str]:
    """A head that was noted earlier, as NUMBER:HASH, must still be there: only so is a shortened chain found."""
    number, _, noted = head.partition(":")
    there = next((entry.hash for entry in entries if str(entry.number) == number), None)
    if there is None:
        yield f"certificate {number}, which was noted, is not in the chain: its end was removed"
    elif there != noted:
        yield f"certificate {number} has another hash than was noted: the chain was written anew"


def check(folder: Path, keys: Sequence[str], heads: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what holds, what doesn't), in words. Raises Unreadable, or OSError of a file with rows."""
    entries = read_chain(folder / CHAIN)
    faults = [*chain_faults(entries, keys), *(fault for head in heads for fault in head_faults(entries, head))]
    if not entries:
        return [], [*faults, "the chain is empty: there is no certificate in it"]
    good = [summary(entries), *(f"signed with the key {key}" for key in sorted({entry.key for entry in entries}))]
    certificates = newest(entries)
    for rows in sorted(each for each in folder.iterdir() if each.is_dir()):
        run = rows.name
        if run not in certificates:
            faults.append(f"{rows}: there is no certificate of {run} in the chain")
            continue
        good += said(certificates[run])
        tables = {f"{one['name']}.csv": one for one in certificates[run]["aggregates"]}
        for file in sorted(rows.iterdir()):
            fault = rows_fault(file, run, tables.get(file.name))
            (faults if fault else good).append(fault or f"{run}: the rows of {file.name} are as certified")
    return good, faults


def form_faults(keys: Sequence[str], heads: Sequence[str]) -> Iterator[str]:
    """Which of these are no keys, or no heads."""
    yield from (f"{key} is not a key: 64 digits, 0-9 or a-f" for key in keys if not re.fullmatch("[0-9a-f]{64}", key))
    for head in heads:
        if not re.fullmatch("[1-9][0-9]{0,17}:[0-9a-f]{64}", head):
            yield f"{head} is not a head: a number, a colon, and 64 digits, 0-9 or a-f"


def plain(text: str) -> str:
    """Fit to be printed: nothing in it ends the line or moves the cursor."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Check certificates, and exported tables against them.")
    parser.add_argument("folder", type=Path, help="what `insights audit export` wrote")
    parser.add_argument("--key", action="append", default=[], help="a public key that may sign")
    parser.add_argument("--head", action="append", default=[], help="NUMBER:HASH that was noted earlier")
    given = parser.parse_args(arguments)
    if wrong := list(form_faults(given.key, given.head)):
        parser.error(plain("; ".join(wrong)))
    try:
        good, faults = check(given.folder, given.key, given.head)
    except (Unreadable, OSError, csv.Error) as error:
        print(plain(str(error)), file=sys.stderr)
        return 2
    print("\n".join(plain(line) for line in [*good, *(f"WRONG: {fault}" for fault in faults)]))
    if not given.key:
        print("By whom it was signed is not checked: no --key was given.")
    elif not faults:
        print("All of it holds.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
