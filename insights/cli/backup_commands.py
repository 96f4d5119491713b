"""``insights backup``, ``restore`` and ``backup-key``: the data folder as one encrypted file, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insights.cli import runtime
from insights.settings import Settings, load_settings
from schemas.errors import Misconfigured
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.backup.about import About, Report
    from insights.stack.control import Report as Steps

Target = Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it must not exist.")]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="A file that `insights backup` wrote.")]
KeyFile = Annotated[Path, typer.Argument(metavar="KEYFILE", help="File to write the private key to.")]
Key = Annotated[Path, typer.Option("--key", metavar="KEYFILE", help="The private key, as `backup-key` wrote it.")]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="PUBLIC-KEY",
        help=f"Encrypt for this key. Default: {Settings.variable('backup_key')}.",
    ),
]
Check = Annotated[bool, typer.Option("--check", metavar="", help="Only read the whole backup; write nothing.")]


def backup(target: Target, to: To = None) -> None:
    """Write the data folder to one encrypted file: log, tables, lake, job state, keys.

    A running stack is stopped with a savepoint, and started again after the
    copy. Events that arrive meanwhile are not lost where their sender retries.
    What runs elsewhere (INSIGHTS_EXTERNAL_...) is not in the file.

    Example: insights backup /mnt/backups/monday.age --to age1...
    """
    from insights import stack
    from insights.backup.write import Target as BackupFile
    from insights.cli import progress

    settings = load_settings()
    recipient = to or settings.backup_key
    if recipient is None:
        raise Misconfigured(
            "name the public key to encrypt for, with --to or INSIGHTS_BACKUP_KEY; `insights backup-key FILE` makes"
            " a pair of keys"
        )
    file = BackupFile(settings, target.expanduser().absolute(), recipient)
    about, seconds = None, 0.0
    try:
        with progress.steps(runtime.out) as report, stack.paused(settings, report) as own:
            began = time.monotonic()
            with _shown(report, "backup") as said:
                about = file.write(own, said)
            seconds = time.monotonic() - began
    finally:  # also where the stack does not come up again
        if about:
            _say_what_was_written(file.path, about, seconds)


def _say_what_was_written(path: Path, about: About, seconds: float) -> None:
    runtime.say("")
    runtime.say(
        f"{path} has {counted(about.files, 'file')} of {about.home}, {about.bytes / 1e6:,.0f} MB in"
        f" {path.stat().st_size / 1e6:,.0f} MB, written in {seconds:.0f} s.",
        style="bold green",
    )
    if about.elsewhere:
        runtime.say(
            f"Not in it is what runs elsewhere ({', '.join(about.elsewhere)}): back that up where it runs, and soon"
            " after this.",
            style="yellow",
        )
    runtime.say(f"`insights restore {path} --key KEYFILE --check` reads it back without writing anything.")


def restore(source: Source, key: Key, check: Check = False) -> None:
    """Put a backup into an empty data folder, or only check that it is whole.

    The folder must have the path that it had when the backup was made, since
    the lake's tables hold it. `insights up` then continues from there.

    Example: insights restore /mnt/backups/monday.age --key backup.key
    """
    from insights.backup import read
    from insights.cli import progress

    source, key = source.expanduser(), key.expanduser()
    with progress.steps(runtime.out) as report, _shown(report, "check" if check else "restore") as said:
        if check:
            about = read.check(source, key, said)
        else:
            about = read.restore(source, key, load_settings().home, said)
    runtime.say("")
    whole = f"{counted(about.files, 'file')} of {about.home}, as of {about.made_at}"
    if check:
        runtime.say(f"The backup is whole: {whole}.", style="bold green")
        return
    runtime.say(f"Restored: {whole}. `insights up` starts it.", style="bold green")
    if about.elsewhere:
        runtime.say(f"What ran elsewhere is not in it: {', '.join(about.elsewhere)}.", style="yellow")


def backup_key(key_file: KeyFile) -> None:
    """Make a pair of keys for backups, and print the public one.

    Anyone who has the private key can read every backup, and without it
    nobody can. Keep it on another machine than the one that is backed up.

    Example: insights backup-key ~/insights-backup.key
    """
    from insights.backup.keys import new_key

    public = new_key(key_file.expanduser().absolute())
    runtime.say(f"{key_file} has the private key. Keep it off this machine: without it no backup can be read.")
    runtime.say("The public key, for --to or INSIGHTS_BACKUP_KEY:")
    runtime.say(public, style="bold")


@contextmanager
def _shown(report: Steps, name: str) -> Iterator[Report]:
    from insights.stack import Step

    report(Step(name=name, state="started"))
    shown = 0.0

    def said(done: int, of: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            detail = f"{done / 1e6:,.0f} of {of / 1e6:,.0f} MB"
            report(Step(name=name, state="progress", detail=detail))

    yield said
    report(Step(name=name, state="done", detail="done"))
