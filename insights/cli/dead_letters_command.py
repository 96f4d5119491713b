"""``insights dead-letters``: what was rejected, and why."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, in a stable format.")]
ForTopic = Annotated[
    str | None, typer.Option("--topic", metavar="TOPIC", help="Show this topic only, for example sales.order_placed.")
]


def dead_letters(topic: ForTopic = None, as_json: AsJson = False) -> None:
    """List dead letters and dead records: where each came from, and why it was rejected.

    A dead letter never reached its topic. A dead record is on its topic, but
    the live job can't read it or must not count it. Values may contain
    personal data. Values of people who were erased, and values in dead letters
    older than 90 days, can't be read any more.

    Example: insights dead-letters --topic sales.order_placed
    """
    from insights.cli import dead_event_views
    from insights.privacy.letters import readable
    from reconciliation import dead_letters, dead_records

    settings = load_settings()
    letters = list(readable(settings, dead_letters.every(settings.kafka, topic), with_bytes=as_json))
    if as_json:
        records = dead_records.listed(settings.postgres_dsn, topic, most=None)
        sys.stdout.write(json.dumps(dead_event_views.as_json(letters, records.newest), indent=2) + "\n")
        return
    if letters:
        runtime.show(dead_event_views.letters_table(letters))
    else:
        runtime.say("There are no dead letters.")
    records = dead_records.listed(settings.postgres_dsn, topic)
    runtime.say("")
    if records.reasons:
        runtime.show(dead_event_views.records_tables(records))
    else:
        runtime.say("There are no dead records.")
