"""What the system knows persons by, in ``keys.sqlite``: destroying a row there is how a person is forgotten.

* **Letters' keys**: each dead letter that may name somebody is sealed under a key of its own (AES-SIV, RFC 5297). Whose
  it is stands beside the key, as a pseudonym, where that is known.
* **Pseudonyms**: an id that is not a shop's number, such as an e-mail address, becomes what it is under its source's
  key (HMAC-SHA-256).
* **The erased**: who was erased. What comes of them later is of somebody new.

The file is its owner's only. What is deleted is overwritten, and not left in the write-ahead log either.
"""

from __future__ import annotations

import hmac
import re
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from producers import state
from schemas.errors import Retryable

FILE: Final = "keys.sqlite"
KEY_BITS: Final = 256
TRUNCATE_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 0.05
# A shop's own number of a customer, or a UUID. Anything longer may be a telephone number.
NUMBER: Final = re.compile(r"\d{1,9}|[A-Z]{1,3}\d{1,9}|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SCHEMA: Final = """
pragma secure_delete = on;
create table if not exists letter_keys (
    letter text primary key, whose text, made_ms integer not null, key blob not null) without rowid;
create index if not exists letter_keys_by_person on letter_keys (whose);
create table if not exists pseudonym_keys (source text primary key, key blob not null) without rowid;
create table if not exists erased (customer text primary key, salt blob not null, erased_ms integer not null)
    without rowid;
"""


class StillRead(Retryable):
    """Somebody reads the keys for so long that a deleted one can't be overwritten."""


class Sealed(NamedTuple):
    """A letter's id, by which its key is found, and its bytes under that key."""

    letter: str
    value: bytes


class _Erased(NamedTuple):
    salt: bytes
    at_ms: int


class PersonKeys:
    """The keys in a folder, which is made when it is missing. Several processes may use the file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = state.only_for_its_owner(folder / FILE)
        self._database = state.opened(self.path)
        self._database.execute("pragma synchronous=normal")  # a kill loses nothing; a power cut may lose the last keys
        self._database.executescript(SCHEMA)
        self._pseudonym_keys: dict[str, bytes] = {}
        self._erased: dict[str, _Erased] = {}
        self._seen = -1

    def seal(self, content: bytes, whose: str | None, at_ms: int) -> Sealed:
        """The content under a new key, which is on disk when this returns. ``whose`` is a pseudonym, if known."""
        letter, key = secrets.token_hex(16), AESSIV.generate_key(KEY_BITS)
        self._database.execute("insert into letter_keys values (?, ?, ?, ?)", (letter, whose, at_ms, key))
        return Sealed(letter, AESSIV(key).encrypt(content, [letter.encode()]))

    def unseal(self, letter: str, value: bytes) -> bytes | None:
        """What was sealed; None once its key is gone, or when the bytes are another's."""
        row = self._database.execute("select key from letter_keys where letter = ?", (letter,)).fetchone()
        try:
            return AESSIV(row[0]).decrypt(value, [letter.encode()]) if row else None
        except InvalidTag:
            return None

    def letters_of(self, customers: Collection[str]) -> set[str]:
        """The letters that are known to be theirs."""
        found: set[str] = set()
        for customer in customers:
            rows = self._database.execute("select letter from letter_keys where whose = ?", (customer,))
            found.update(letter for (letter,) in rows)
        return found

    def customer(self, source: str, said: str) -> str:
        """Who a source's customer is here: a shop's number as it is, anything else as a pseudonym."""
        return self.called(said if NUMBER.fullmatch(said) else self.pseudonym(source, said))

    def pseudonym(self, source: str, said: str) -> str:
        """What an id, an e-mail address for example, becomes under the source's key."""
        return self._hashed(source, "customer", said.strip().casefold())

    def editor(self, source: str, said: str) -> str:
        """What the name of a public page's editor becomes: names that differ in case are of different editors."""
        return self._hashed(source, "editor", said)

    def sources(self) -> list[str]:
        """Those that have pseudonyms."""
        return [source for (source,) in self._database.execute("select source from pseudonym_keys order by source")]

    def called(self, customer: str) -> str:
        """The customer, or once erased the one that this person is from then on."""
        return self.lives(customer)[-1]

    def lives(self, customer: str) -> list[str]:
        """Whom a person was from this customer on: each name but the last was ended by an erasure."""
        self._look()
        found = [customer]
        while (erased := self._erased.get(found[-1])) is not None:
            found.append(f"again-{hmac.new(erased.salt, found[-1].encode(), 'sha256').hexdigest()[:16]}")
        return found

    def erased_ms(self, customer: str) -> int | None:
        """When this pseudonym's person was erased, in milliseconds since 1970; None if never."""
        self._look()
        found = self._erased.get(customer)
        return found.at_ms if found else None

    def erase(self, customers: Iterable[str], letters: Iterable[str], at_ms: int) -> None:
        """Forget customers: note that they are erased, destroy the keys of these letters and of all that are theirs.

        Blocks until both is on disk.

        Raises StillRead, with all of it done but the overwriting of the write-ahead log; call it again then.
        """
        self._database.execute("begin immediate")
        rows = [(customer, secrets.token_bytes(16), at_ms) for customer in customers]
        self._database.executemany("insert or ignore into erased values (?, ?, ?)", rows)
        self._database.executemany("delete from letter_keys where letter = ?", [(letter,) for letter in letters])
        self._database.executemany("delete from letter_keys where whose = ?", [(customer,) for customer, _, _ in rows])
        self._database.execute("commit")
        self._seen = -1
        truncated(self._database, self.path)

    def expire(self, made_before_ms: int) -> int:
        """Destroy the keys of letters that are older than that; how many. Blocks, and raises as ``erase`` does."""
        gone = self._database.execute("delete from letter_keys where made_ms < ?", (made_before_ms,)).rowcount
        if gone:
            truncated(self._database, self.path)
        return gone

    def close(self) -> None:
        """Close the file. What was written stays."""
        self._database.close()

    def _look(self) -> None:
        """Read anew who is erased, if anybody has written to the file since."""
        (version,) = self._database.execute("pragma data_version").fetchone()
        if version != self._seen:
            self._seen = version
            rows = self._database.execute("select customer, salt, erased_ms from erased")
            self._erased = {customer: _Erased(salt, at_ms) for customer, salt, at_ms in rows}

    def _hashed(self, source: str, kind: str, said: str) -> str:
        key = self._pseudonym_keys.get(source) or self._pseudonym_key(source)
        digest = hmac.new(key, said.encode("utf-8", "surrogatepass"), "sha256")
        return f"{source}-{kind}-{digest.hexdigest()[:16]}"

    def _pseudonym_key(self, source: str) -> bytes:
        made = (source, secrets.token_bytes(32))
        self._database.execute("insert or ignore into pseudonym_keys values (?, ?)", made)
        (key,) = self._database.execute("select key from pseudonym_keys where source = ?", (source,)).fetchone()
        return self._pseudonym_keys.setdefault(source, key)


def truncated(database: sqlite3.Connection, path: Path, *, seconds: float = TRUNCATE_SECONDS) -> None:
    """Bring the write-ahead log into the file and empty it. Blocks while others read. Raises StillRead."""
    deadline = time.monotonic() + seconds
    while database.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
        if time.monotonic() > deadline:
            raise StillRead(
                f"the deleted keys may still stand in {path}-wal, because another program has read {path} for"
                f" {seconds:g} s; end it, and run the command again"
            )
        time.sleep(AGAIN_SECONDS)


def expire(folder: Path, made_before_ms: int) -> int:
    """Destroy the keys of letters made before then, if there is a store at all; how many. Raises StillRead."""
    if not (folder / FILE).exists():
        return 0
    with closing(PersonKeys(folder)) as keys:
        return keys.expire(made_before_ms)
