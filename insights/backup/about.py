"""What a backup says of itself, and where its files are in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import InsightsError

FORMAT = 1
# The first member of the archive, the folder of the files, and the last member: every file with its SHA-256.
ABOUT, INSIDE, FILES = "about.json", "data", "files.json"
# What a folder may hold that counts as empty: a file system's own.
OF_A_DISK = ("lost+found",)

Report = Callable[[int, int], None]
"""Called with the bytes done, and of how many."""


class Progress:
    """Reports the bytes done so far, of how many."""

    def __init__(self, report: Report, of: int) -> None:
        self._report, self._of, self._done = report, of, 0

    def add(self, size: int) -> None:
        """So many more are done."""
        self._done += size
        self._report(self._done, self._of)


class BackupBroken(InsightsError):
    """The file is not a backup, was cut, or holds something else than was put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a backup says of itself, at its beginning.

    Attributes:
        home: the data folder that it was made of. The lake's tables and the job's state hold its path.
        mode: the folder's permissions.
        bytes: the sum of its files' sizes, before compression.
        elsewhere: settings of the servers that ran elsewhere, whose data are not in it.
    """

    format: int
    home: str
    mode: int
    made_at: str
    files: int
    bytes: int
    elsewhere: list[str]
