"""``insights audit``: the signed certificates of replays, checked here, and exported to be checked elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.errors import InsightsError
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


class AuditFailed(InsightsError):
    """The chain of certificates was changed; the message has what was found."""


@app.command()
def check(head: Heads = None) -> None:
    """Check all certificates: signatures, order, sums, and the runs' records.

    Exits with code 1 if something was changed after it was signed. Note the
    head it prints where nobody else writes: with --head, a later check finds
    certificates that were removed from the end.

    Example: insights audit check
    """
    from insights.wiring import replay_context
    from replay import audit, certificates

    context = replay_context(load_settings())
    key = certificates.public_key(context.work_dir)
    with context.postgres() as connection:
        entries = list(certificates.chain(connection))
        faults = [*audit.chain_faults(entries), *certificates.record_faults(connection)]
    faults += [fault for each in head or () for fault in audit.head_faults(entries, each)]
    runtime.say(f"certificates: {len(entries)}" + (f", head {entries[-1].head}" if entries else ""))
    if others := sorted({entry.key for entry in entries} - {key}):
        runtime.say(f"some were signed with another key: {', '.join(others)}")
    if faults:
        raise AuditFailed(f"{counted(len(faults), 'fault')} found: {'; '.join(faults)}")
    runtime.say("All of it holds.")


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

    `python3 replay/audit.py DIR` checks it anywhere, with Python alone.

    Example: insights audit export /tmp/audit --run r7
    """
    from insights.wiring import replay_context
    from replay import certificates

    context = replay_context(load_settings())
    with context.postgres() as connection:
        tables = {name: certificates.tables(connection, name, live=live) for name in run or ()}
        for file in certificates.export(connection, folder.expanduser().absolute(), tables):
            runtime.say(str(file))
