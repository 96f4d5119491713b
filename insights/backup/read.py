"""Reads a backup: checks it, or puts it into a data folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pyrage
import zstandard

from insights.backup.about import ABOUT, FILES, FORMAT, INSIDE, OF_A_DISK, About, BackupBroken, Progress, Report
from insights.backup.envelope import CHUNK, decrypted
from insights.backup.keys import private_keys
from schemas.errors import Misconfigured

MOST_ABOUT = 1 << 20


def check(source: Path, key_file: Path, report: Report) -> About:
    """Read all of a backup, as a restore does, and write nothing. Blocks. Raises BackupBroken, Misconfigured."""
    with _archive(source, key_file) as archive:
        about = _read_about(archive, source)
        _unpack(archive, source, about, None, report)
    return about


def restore(source: Path, key_file: Path, home: Path, report: Report) -> About:
    """Put a backup into an empty or new data folder, whole or not at all. Blocks.

    Raises BackupBroken, or Misconfigured when the key, the folder or its disk does not fit.
    """
    _refuse_full(home)
    is_new = not home.exists()
    staging: Path | None = None
    try:
        with _archive(source, key_file) as archive:
            about = _read_about(archive, source)
            _refuse_other_place(about, home)
            try:
                home.mkdir(parents=True, exist_ok=True)
                _refuse_too_small(about, home)
                staging = Path(tempfile.mkdtemp(prefix=".restoring-", dir=home))
            except OSError as error:
                raise Misconfigured(f"{home} can't be written: {error.strerror}") from error
            _unpack(archive, source, about, staging, report)
        for path in staging.iterdir():
            path.rename(home / path.name)
        staging.rmdir()
        home.chmod(about.mode)
        (home / "run").mkdir()
    except BaseException:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                home.rmdir()
        raise
    return about


@contextmanager
def _archive(source: Path, key_file: Path) -> Iterator[tarfile.TarFile]:
    """The archive in a backup, to its end: there it shows whether the file was cut. Raises BackupBroken."""
    identities = private_keys(key_file)
    try:
        with decrypted(source, identities) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive
    except pyrage.DecryptError as error:
        raise BackupBroken(f"{source} can't be decrypted with this key: {error}") from error
    except (tarfile.TarError, EOFError, zstandard.ZstdError) as error:
        raise BackupBroken(f"{source} is not whole: {error}") from error
    except OSError as error:
        if error.errno:  # age's own have no number
            raise Misconfigured(f"{source} can't be read: {error.strerror}") from error
        raise BackupBroken(f"{source} is not whole: {error}") from error


def _read_about(archive: tarfile.TarFile, source: Path) -> About:
    member = archive.next()
    if member is None or member.name != ABOUT or member.size > MOST_ABOUT:
        raise BackupBroken(f"{source} is not a backup of a data folder")
    try:
        found = json.loads(_content(archive, member))
        if found["format"] != FORMAT:
            raise BackupBroken(f"{source} has format {found['format']}; this release reads format {FORMAT}")
        return About(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise BackupBroken(f"{source} is not a backup of a data folder: {error}") from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _refuse_full(home: Path) -> None:
    if home.exists() and (not home.is_dir() or any(path.name not in OF_A_DISK for path in home.iterdir())):
        raise Misconfigured(
            f"{home} is not empty: a backup is only restored into an empty folder. `insights clean` removes what is"
            " there, for good; or move it away"
        )


def _refuse_other_place(about: About, home: Path) -> None:
    if about.home != str(home.resolve()):
        raise Misconfigured(
            f"this backup is of {about.home}, and its tables hold that path; restore it there:"
            f" INSIGHTS_HOME={about.home}"
        )


def _refuse_too_small(about: About, home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < about.bytes:
        raise Misconfigured(
            f"the backup needs {about.bytes / 1e6:,.0f} MB, and the disk of {home} has {free / 1e6:,.0f} MB free"
        )


def _unpack(archive: tarfile.TarFile, source: Path, about: About, to: Path | None, report: Report) -> None:
    """Each file, compared with what was put in. Written to a folder, or only read."""
    hashes: dict[str, str] = {}
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    wanted: dict[str, str] | None = None
    progress = Progress(report, about.bytes)
    for member in archive:
        vars(archive)["members"] = []
        if member.name == ABOUT:
            continue
        if member.name == FILES:
            wanted = json.loads(_content(archive, member))
            continue
        inside = _inside(member, source)
        if member.isdir():
            folders += [(to / inside, member)] if to else []
            _make_folder(to and to / inside)
            continue
        hashes[inside] = _take(archive, member, to and to / inside)
        progress.add(member.size)
    if wanted is None or hashes != wanted:
        raise BackupBroken(f"{source} is not whole: its files are not those that were put in")
    for path, member in reversed(folders):  # a folder's mode may forbid to write into it
        path.chmod(member.mode & 0o777)
        os.utime(path, (member.mtime, member.mtime))


def _inside(member: tarfile.TarInfo, source: Path) -> str:
    """Where in the folder a member goes. Raises BackupBroken for what leads out of it, or is no file and no folder."""
    first, *rest = PurePosixPath(member.name).parts or ("",)
    if first != INSIDE or not rest or ".." in rest or not (member.isreg() or member.isdir()):
        raise BackupBroken(f"{source} holds {member.name!r}, which is not a file or folder of a data folder")
    return "/".join(rest)


def _make_folder(path: Path | None) -> None:
    if path:
        path.mkdir(mode=0o700)


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path | None) -> str:
    """The SHA-256 of a file that was read, and written to ``path``. Raises Misconfigured when that can't be."""
    file, digest = archive.extractfile(member), hashlib.sha256()
    assert file is not None
    if path is None:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    with _written(path) as out:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            out(chunk)
    path.chmod(member.mode & 0o777)
    os.utime(path, (member.mtime, member.mtime))
    return digest.hexdigest()


@contextmanager
def _written(path: Path) -> Iterator[Callable[[bytes], object]]:
    """A function that writes to the new file. Its errors name the file, apart from those of reading the backup."""

    def write(chunk: bytes) -> object:
        try:
            return out.write(chunk)
        except OSError as error:
            raise Misconfigured(f"{path} can't be written: {error.strerror}. Nothing is left of it") from error

    try:
        out = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb", buffering=0)
    except OSError as error:
        raise Misconfigured(f"{path} can't be written: {error.strerror}. Nothing is left of it") from error
    with out:
        yield write
        os.fsync(out.fileno())
