"""A key for each customer: deleting it makes that customer's name and address unreadable wherever they were copied.

Encryption is AES-SIV (RFC 5297), which is deterministic, so an event that is published again has the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from producers.persons.keys import truncated
from producers.shop.people import customer_id
from producers.state import only_for_its_owner, opened

BLOCK = 1024
KEY_BITS = 256


class KeyStore:
    """Random keys in an SQLite file, safe to share by processes.

    Keys are made by the block and are on disk before ``seal`` returns, so no published ciphertext ever lacks its key;
    a key that was deleted is not made again.
    """

    def __init__(self, path: Path) -> None:
        self._path = only_for_its_owner(path)
        self._db = opened(path, by_threads=True)
        self._db.execute("pragma secure_delete = on")
        self._db.execute("create table if not exists blocks (block integer primary key)")
        self._db.execute("create table if not exists keys (number integer primary key, key blob not null)")
        self._made: set[int] = set()

    def seal(self, number: int, field: str, text: str) -> bytes | None:
        """The text under customer ``number``'s key, bound to them and to the field; None once the key is deleted."""
        self._ensure(number // BLOCK)
        key = self._key(number)
        return None if key is None else AESSIV(key).encrypt(text.encode(), _bound(number, field))

    def unseal(self, number: int, field: str, sealed: bytes) -> str | None:
        """What was sealed, or None when the key is deleted or the bytes are another's."""
        key = self._key(number)
        if key is None:
            return None
        try:
            return AESSIV(key).decrypt(sealed, _bound(number, field)).decode()
        except InvalidTag:
            return None

    def delete(self, number: int) -> None:
        """Delete a customer's key for good: it is overwritten. Blocks until it is. Raises StillRead."""
        self._ensure(number // BLOCK)
        self._db.execute("delete from keys where number = ?", (number,))
        truncated(self._db, self._path)

    def close(self) -> None:
        """Close the database. What was written stays."""
        self._db.close()

    def _key(self, number: int) -> bytes | None:
        # Read each time: a key that another process deletes is gone at once.
        row = self._db.execute("select key from keys where number = ?", (number,)).fetchone()
        return None if row is None else bytes(row[0])

    def _ensure(self, block: int) -> None:
        if block in self._made:
            return
        self._db.execute("begin immediate")  # two processes must not make different keys for one customer
        if self._db.execute("insert or ignore into blocks values (?)", (block,)).rowcount:
            numbers = range(block * BLOCK, (block + 1) * BLOCK)
            self._db.executemany(
                "insert into keys values (?, ?)", ((number, AESSIV.generate_key(KEY_BITS)) for number in numbers)
            )
        self._db.execute("commit")
        self._made.add(block)


def _bound(number: int, field: str) -> list[bytes]:
    return [customer_id(number).encode(), field.encode()]
