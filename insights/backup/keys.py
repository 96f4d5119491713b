"""The keys of backups, of the kind X25519, as the `age` program has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyrage

from schemas.errors import Misconfigured

PRIVATE = "AGE-SECRET-KEY-"


def new_key(path: Path) -> str:
    """Write a new private key there, readable by its owner only, and return its public key.

    Raises Misconfigured when the file exists, or can't be written.
    """
    identity = pyrage.x25519.Identity.generate()
    text = f"# The private key of backups of Insights Hub. Public key: {identity.to_public()}\n{identity}\n"
    try:
        with created(path) as file:
            file.write(text.encode())
    except FileExistsError:
        raise Misconfigured(f"{path} exists. A key is never overwritten: backups made for it would be lost") from None
    except OSError as error:
        raise Misconfigured(f"{path} can't be written: {error.strerror or error}") from error
    return str(identity.to_public())


@contextmanager
def created(path: Path) -> Iterator[IO[bytes]]:
    """A new file for its owner only, on the disk once the block is left, and gone if that raises."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def public_key(recipient: str) -> Any:
    """Raises Misconfigured for anything else, and does not repeat a private key."""
    if recipient.strip().startswith(PRIVATE):
        raise Misconfigured("that is a private key, which must not be given: the public one begins with age1")
    try:
        return pyrage.x25519.Recipient.from_str(recipient.strip())
    except pyrage.RecipientError as error:
        raise Misconfigured(
            f"{recipient!r} is not a public key (age1…): {error}. `insights backup-key FILE` makes a pair of keys"
        ) from error


def private_keys(path: Path) -> list[Any]:
    """Every key of the file: after a change of keys it may have the older ones, too."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except OSError as error:
        raise Misconfigured(f"the key {path} can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, pyrage.IdentityError):
        found = []
    if not found:
        raise Misconfigured(f"{path} is not a file of private keys ({PRIVATE}1…), as `insights backup-key` writes them")
    return found
