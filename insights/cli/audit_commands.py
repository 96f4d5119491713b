"""``insights audit``: the signed certificates of replays, checked here, and exported to be checked elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.errors import InsightsError, Misconfigured
from schemas.plural import counted

app = runtime.group(
    "Check the signed certificates of replays, and export them for an auditor.", example="insights audit check"
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, for the chain and the rows.")]
Runs = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="RUN", help="Also export the rows of this run, for example r7; repeatable."),
]
Live = Annotated[
    bool, typer.Option("--live", metavar="", help="Export what readers see now, not what the run computed.")
]
Heads = Annotated[
    list[str] | None,
    typer.Option("--head", metavar="NUMBER:HASH", help="The head that an earlier check printed must still be there."),
]


Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="A key that may have signed too: an earlier one of yours."),
]
UnsignedTo = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Runs up to this one may be unsigned: verified before certificates were signed."),
]


class AuditFailed(InsightsError):
    """The certificates do not hold; the faults were printed before."""


@app.command()
def check(head: Heads = None, key: Keys = None, unsigned_to: UnsignedTo = None) -> None:
    """Check all certificates: signatures, order, sums, and the runs' records.

    Exits with code 1 if something was changed after it was signed, if
    another key signed, or if a certificate was never signed. Note the head
    it prints where nobody else writes: with --head, a later check finds
    certificates that were removed from the end. The certificates themselves
    say whether tables are equal.

    Example: insights audit check
    """
    from insights.wiring import replay_context
    from replay import audit, certificates

    keys, heads = key or [], head or []
    if wrong := list(audit.form_faults(keys, heads)):
        raise typer.BadParameter("; ".join(wrong))
    if unsigned_to and not re.fullmatch("r[0-9]{1,18}", unsigned_to):
        raise typer.BadParameter(f"--unsigned-to {unsigned_to} is not a run, such as r41")
    context = replay_context(load_settings())
    with context.postgres() as connection:
        told, faults = certificates.check(connection, context.work_dir, keys=keys, heads=heads, unsigned_to=unsigned_to)
    for line in [*told, *(f"WRONG: {fault}" for fault in faults)]:
        runtime.say(audit.plain(line))
    if faults:
        raise AuditFailed(f"{counted(len(faults), 'fault')} found; docs/replay.md#audit says what each may mean")


@app.command()
def new_key() -> None:
    """Make another key, where the old one is lost.

    Certificates that were signed before need the old public key: give it to
    `insights audit check --key`. A key that is there stays.

    Example: insights audit new-key
    """
    from insights.wiring import replay_context
    from replay import certificates

    folder = replay_context(load_settings()).work_dir
    if not certificates.make_key(folder):
        raise Misconfigured(f"{certificates.key_file(folder)} is there. Move it away first, if it is not to be used")
    runtime.say(certificates.public_key(folder))


@app.command()
def key() -> None:
    """Print the public key that certificates are signed with.

    Give it to anyone who checks an export, by another way than the export.

    Example: insights audit key
    """
    from insights.wiring import replay_context
    from replay import certificates

    runtime.say(certificates.public_key(replay_context(load_settings()).work_dir))


@app.command()
def export(folder: Folder, run: Runs = None, live: Live = False) -> None:
    """Write the chain of certificates, and rows, to a folder.

    The chain has the certificates of all runs, with the keys of rows that
    differed (a customer's id, for example). Only you may read the files.
    `python3 replay/audit.py DIR` checks it anywhere, with Python alone.

    Example: insights audit export for-the-auditor --run r7
    """
    from insights.wiring import replay_context
    from replay import certificates

    context = replay_context(load_settings())
    with context.postgres() as connection:
        tables = {name: certificates.tables(connection, name, live=live) for name in run or ()}
        for file in certificates.export(connection, folder.expanduser().absolute(), tables):
            runtime.say(str(file))
