"""A data folder as one encrypted file, and back: what the folder holds of log, tables, lake, job state and keys.

The file is a tar archive, compressed with zstd and encrypted with age (age-encryption.org) for a public key; the
`age` and `zstd` programs read it, too. Its last member lists every file with its SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyrage
import zstandard

from insights.settings import Settings
from schemas.errors import InsightsError, Misconfigured

FORMAT = 1
ABOUT, FILES = "about.json", "files.json"
INSIDE = "data"
# Made again at each start, or of this machine's processes only.
LEFT_OUT = ("run", "logs", "conf", "flink/tmp", "flink/client")
LEVEL = 3
CHUNK = 1 << 20

Report = Callable[[int, int], None]
"""Called with the bytes done, and of how many."""


class BackupBroken(InsightsError):
    """The file is not a backup, was cut, or holds something else than was put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a backup says of itself, at its beginning.

    Attributes:
        home: the data folder that it was made of. The lake's tables and the job's state hold its path.
        bytes: the sum of its files' sizes, before compression.
        elsewhere: settings of the servers that ran elsewhere, whose data are not in it.
    """

    format: int
    home: str
    made_at: str
    files: int
    bytes: int
    elsewhere: list[str]


def new_key(path: Path) -> str:
    """Write a new private key there, readable by its owner only, and return its public key.

    Raises Misconfigured when the file exists.
    """
    identity = pyrage.x25519.Identity.generate()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(
                f"# The private key of backups of Insights Hub. Public key: {identity.to_public()}\n{identity}\n"
            )
    except FileExistsError:
        raise Misconfigured(f"{path} exists. A key is never overwritten: backups made for it would be lost") from None
    except OSError as error:
        raise Misconfigured(f"{path} can't be written: {error.strerror}") from error
    return str(identity.to_public())


def write(settings: Settings, target: Path, recipient: str, report: Report) -> About:
    """Write the folder of a stack that does not run to ``target``, whole or not at all. Blocks.

    Raises Misconfigured when the key or a path is wrong, or the target's disk is full.
    """
    key = _public(recipient)
    about, files = _about(settings), list(_files(settings.home))
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("xb") as out, _encrypted(out, key) as stream:
            _pack(stream, settings.home, files, about, report)
        part.replace(target)
    except FileExistsError:
        raise Misconfigured(f"{part} exists: another backup is being written, or one was cut. Remove it") from None
    except OSError as error:
        raise Misconfigured(f"{target} can't be written: {error.strerror}. Nothing is left of it") from error
    finally:
        part.unlink(missing_ok=True)
    return about


def check_target(settings: Settings, target: Path, recipient: str) -> None:
    """Raises Misconfigured when a backup can't be written there, or not for this key."""
    _public(recipient)
    if target.exists():
        raise Misconfigured(f"{target} exists; name a new file")
    if not target.parent.is_dir():
        raise Misconfigured(f"{target.parent} is not a folder")
    if target.absolute().is_relative_to(settings.home):
        raise Misconfigured(f"{target} lies in the data folder; name a file on another disk")
    if not (settings.home / "run").is_dir():
        raise Misconfigured(f"{settings.home} holds no data: there is nothing to back up")


def read(source: Path, key_file: Path, report: Report, *, into: Settings | None) -> About:
    """Check a backup, file by file, and with ``into`` put it into that data folder, which must be empty. Blocks.

    Raises BackupBroken, or Misconfigured when the key, the folder or its disk does not fit; then nothing is written.
    """
    identity = _private(key_file)
    staging = into.home.with_name(f"{into.home.name}.restoring") if into else None
    if into:
        _refuse_full(into.home)
    try:
        with _decrypted(source, identity) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            about = _read_about(archive, source)
            if into and staging:
                _refuse_unfit(about, into.home)
                staging.mkdir(parents=True)
            _unpack(archive, source, about, staging, report)
        if into and staging:
            with suppress(FileNotFoundError):
                into.home.rmdir()
            staging.rename(into.home)
            (into.home / "run").mkdir()
    except (tarfile.TarError, EOFError, zstandard.ZstdError, pyrage.DecryptError, OSError) as error:
        if into and isinstance(error, OSError) and error.errno:  # age's own have none
            raise Misconfigured(f"{into.home} can't be written: {error.strerror}. Nothing is left of it") from error
        raise BackupBroken(f"{source} can't be read with this key, or is not whole: {error}") from error
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)
    return about


def _public(recipient: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(recipient.strip())
    except pyrage.RecipientError as error:
        raise Misconfigured(
            f"{recipient!r} is not a public key (age1…): {error}. `insights backup-key FILE` makes a pair of keys"
        ) from error


def _private(path: Path) -> Any:
    try:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        return pyrage.x25519.Identity.from_str(lines[0])
    except OSError as error:
        raise Misconfigured(f"the key {path} can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, IndexError, pyrage.IdentityError) as error:
        raise Misconfigured(f"{path} is not a private key (AGE-SECRET-KEY-1…): {error}") from error


def _about(settings: Settings) -> About:
    files = [path for path in _files(settings.home) if path.is_file() and not path.is_symlink()]
    outside = [name for name in type(settings).model_fields if name.startswith("external_") and getattr(settings, name)]
    return About(
        format=FORMAT,
        home=str(settings.home),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        elsewhere=[settings.variable(name) for name in outside if name.count("_") == 1],
    )


def _files(home: Path) -> Iterator[Path]:
    """Folders, too: Postgres misses an empty one. Each before what is in it."""
    for path in sorted(home.rglob("*")):
        inside = path.relative_to(home)
        if not any(inside.is_relative_to(left) for left in LEFT_OUT) and not path.is_socket():
            yield path


def _pack(stream: IO[bytes], home: Path, paths: list[Path], about: About, report: Report) -> None:
    hashes: dict[str, str] = {}
    done = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add_json(archive, ABOUT, asdict(about))
        for path in paths:
            name = path.relative_to(home).as_posix()
            info = archive.gettarinfo(path, f"{INSIDE}/{name}")
            if path.is_symlink() or not path.is_file():
                archive.addfile(info)
                continue
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size  # also of two names for one
            with path.open("rb") as file:
                hashed = _Hashed(file)
                archive.addfile(info, hashed)
            hashes[name] = hashed.digest.hexdigest()
            done += info.size
            report(done, about.bytes)
        _add_json(archive, FILES, hashes)


class _Hashed:
    """A file whose SHA-256 is known once it was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add_json(archive: tarfile.TarFile, name: str, value: object) -> None:
    text = json.dumps(value, indent=1).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(text), 0o600, int(datetime.now(UTC).timestamp())
    archive.addfile(info, io.BytesIO(text))


def _read_about(archive: tarfile.TarFile, source: Path) -> About:
    member = archive.next()
    if member is None or member.name != ABOUT:
        raise BackupBroken(f"{source} is not a backup of a data folder")
    found = json.loads(_content(archive, member))
    if found.get("format") != FORMAT:
        raise BackupBroken(f"{source} has format {found.get('format')}; this release reads format {FORMAT}")
    return About(**found)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _refuse_full(home: Path) -> None:
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Misconfigured(
            f"{home} is not empty: a backup is only restored into an empty folder. `insights clean` removes what is"
            " there, for good; or move it away"
        )


def _refuse_unfit(about: About, home: Path) -> None:
    if about.home != str(home):
        raise Misconfigured(
            f"this backup is of {about.home}, and its tables hold that path; restore it there:"
            f" INSIGHTS_HOME={about.home}"
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.parent).free
    if free < about.bytes:
        raise Misconfigured(
            f"the backup needs {about.bytes / 1e6:,.0f} MB, and {home.parent} has {free / 1e6:,.0f} MB free"
        )


def _unpack(archive: tarfile.TarFile, source: Path, about: About, to: Path | None, report: Report) -> None:
    """Each file, compared with what was put in. Written to a folder, or only read."""
    hashes: dict[str, str] = {}
    wanted: dict[str, str] | None = None
    done = 0
    for member in archive:
        if member.name == ABOUT:
            continue
        if member.name == FILES:
            wanted = json.loads(_content(archive, member))
            continue
        inside = member.name.removeprefix(f"{INSIDE}/")
        if member.isreg():
            hashes[inside] = _take(archive, member, to and to / inside)
            done += member.size
            report(done, about.bytes)
        elif to:
            archive.extract(member.replace(name=inside), to, filter=_as_it_was)
    if wanted is None or hashes != wanted:
        raise BackupBroken(f"{source} is not whole: its files are not those that were put in")


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path | None) -> str:
    """The SHA-256 of a file that was read, and written to ``path``."""
    if path is not None and ".." in path.parts:
        raise BackupBroken(f"{member.name} leads out of the folder")
    file, digest = archive.extractfile(member), hashlib.sha256()
    assert file is not None
    with path.open("xb") if path else open(os.devnull, "wb") as out:  # noqa: PTH123
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
    if path:
        path.chmod(member.mode & 0o777)
        os.utime(path, (member.mtime, member.mtime))
    return digest.hexdigest()


def _as_it_was(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """Nothing outside the folder; but a folder's mode stays: Postgres wants its own to be nobody else's."""
    return tarfile.data_filter(member, path).replace(mode=member.mode & 0o777)


@contextmanager
def _encrypted(out: IO[bytes], key: Any) -> Iterator[IO[bytes]]:
    """What is written to it comes compressed and encrypted to ``out``."""
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with _beside(lambda: pyrage.encrypt_io(reading, out, [key]), reading):
        try:
            with zstandard.ZstdCompressor(level=LEVEL, threads=-1).stream_writer(writing, closefd=False) as stream:
                yield stream
        finally:
            writing.close()


@contextmanager
def _decrypted(source: Path, identity: Any) -> Iterator[IO[bytes]]:
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    try:
        file = source.open("rb")
    except OSError as error:
        raise Misconfigured(f"{source} can't be read: {error.strerror}") from error
    with file, _beside(lambda: pyrage.decrypt_io(file, writing, [identity]), writing):
        try:
            stream = zstandard.ZstdDecompressor().stream_reader(reading)
            yield stream
            while stream.read(CHUNK) or reading.read(CHUNK):
                pass  # to its end, where age notices what was cut
        finally:
            reading.close()


@contextmanager
def _beside(work: Callable[[], None], end: IO[bytes]) -> Iterator[None]:
    """Runs ``work`` in a thread, which closes its end of a pipe; what it raises is raised when the block is left."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            with suppress(OSError):
                end.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError):
        thread.join()
        if raised:
            raise raised[0] from None
        raise
    thread.join()
    if raised:
        raise raised[0]
