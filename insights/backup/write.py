"""Writes a backup of a data folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from insights.backup.about import ABOUT, FILES, FORMAT, INSIDE, OF_A_DISK, About, Progress, Report
from insights.backup.envelope import encrypted
from insights.backup.keys import created, public_key
from insights.settings import Settings
from schemas.errors import Misconfigured

# Made again at each start, or of this machine's processes only.
LEFT_OUT = ("run", "logs", "conf", "flink/tmp")


class Target:
    """The file that a backup is written to: taken when this is made, so that nothing stops for one that can't be."""

    def __init__(self, settings: Settings, path: Path, recipient: str) -> None:
        """Raises Misconfigured when it can't be written there, not for this key, or the folder can't be backed up."""
        self.path, self._key = path, public_key(recipient)
        if path.exists():
            raise Misconfigured(f"{path} exists; name a new file")
        if path.resolve().is_relative_to(settings.home.resolve()):
            raise Misconfigured(f"{path} lies in the data folder; name a file on another disk")
        if not (settings.home / "run").is_dir():
            raise Misconfigured(f"{settings.home} holds no data: there is nothing to back up")
        try:
            with self._part():
                pass
        except OSError as error:
            raise Misconfigured(f"{path} can't be written: {error.strerror}") from error
        for _ in _walk(settings.home):
            pass  # what can't be read or restored is named before anything stops

    @contextmanager
    def _part(self) -> Iterator[Path]:
        """An empty new file for what is written, gone once the block is left. Raises OSError."""
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with created(part):
                pass
        except FileExistsError:
            raise Misconfigured(f"{part} exists: another backup writes it, or one was cut; then remove it") from None
        try:
            yield part
        finally:
            part.unlink()

    def write(self, settings: Settings, report: Report) -> About:
        """Write the folder of a stack that does not run, whole or not at all. Blocks.

        Raises Misconfigured when the disk is full, or the folder changes while it is read.
        """
        files = list(_walk(settings.home))
        about = _about(settings, files)
        try:
            with self._part() as part:
                with part.open("wb") as out:
                    with encrypted(out, self._key) as stream:
                        _pack(stream, settings.home, files, about, report)
                    out.flush()
                    os.fsync(out.fileno())
                os.link(part, self.path)  # and not a rename, which would replace what came there meanwhile
        except OSError as error:
            why = error.strerror or error
            raise Misconfigured(f"{self.path} can't be written: {why}. Nothing is left of it") from error
        return about


def _about(settings: Settings, files: list[Path]) -> About:
    sizes = [path.stat().st_size for path in files if path.is_file()]
    outside = [name for name in type(settings).model_fields if name.startswith("external_") and getattr(settings, name)]
    return About(
        format=FORMAT,
        home=str(settings.home.resolve()),
        mode=stat.S_IMODE(settings.home.stat().st_mode),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=len(sizes),
        bytes=sum(sizes),
        elsewhere=[settings.variable(name) for name in outside if name.count("_") == 1],
    )


def _walk(home: Path, inside: Path = Path()) -> Iterator[Path]:
    """Files and folders, empty ones too, each before what is in it. Raises Misconfigured where one can't be."""
    for path in sorted((home / inside).iterdir()):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # of a stack that still runs
            continue
        if path.relative_to(home).as_posix() in LEFT_OUT or path.name in OF_A_DISK or stat.S_ISSOCK(mode):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Misconfigured(
                f"{path} is neither a file nor a folder, so no backup can hold it. Where it is a link to a folder, have"
                " the folder itself there; a disk can be mounted at it"
            )
        if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
            raise Misconfigured(f"{path} can't be read: run `insights backup` as the user that runs the stack")
        yield path
        if stat.S_ISDIR(mode):
            with suppress(FileNotFoundError):
                yield from _walk(home, path.relative_to(home))


def _pack(stream: IO[bytes], home: Path, paths: list[Path], about: About, report: Report) -> None:
    hashes: dict[str, str] = {}
    progress = Progress(report, about.bytes)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add_json(archive, ABOUT, asdict(about))
        for path in paths:
            name = path.relative_to(home).as_posix()
            info = archive.gettarinfo(path, f"{INSIDE}/{name}")
            vars(archive)["members"] = []  # it would grow with every file
            if info.isdir():
                archive.addfile(info)
                continue
            info.type, info.linkname = tarfile.REGTYPE, ""  # also of a second name for one file
            hashes[name] = _add_file(archive, info, path, progress)
        _add_json(archive, FILES, hashes)


def _add_file(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path, progress: Progress) -> str:
    """Its SHA-256. Raises Misconfigured when it can't be read, or changes meanwhile."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            info.size = before.st_size
            hashed = _Hashed(file, progress)
            try:
                archive.addfile(info, hashed)
            except OSError as error:
                if error.errno is None:  # tarfile: the file ended too early
                    raise Misconfigured(f"{path} became shorter while it was copied") from error
                raise
            after = os.fstat(file.fileno())
    except (FileNotFoundError, PermissionError) as error:
        raise Misconfigured(f"{path} can't be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Misconfigured(f"{path} changed while it was copied: something still writes to the data folder")
    return hashed.digest.hexdigest()


class _Hashed:
    """A file whose SHA-256 is known once it was read."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress, self.digest = file, progress, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._progress.add(len(data))
        return data


def _add_json(archive: tarfile.TarFile, name: str, value: object) -> None:
    text = json.dumps(value, indent=1).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(text), 0o600, int(datetime.now(UTC).timestamp())
    archive.addfile(info, io.BytesIO(text))
