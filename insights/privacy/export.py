"""Everything held of a person, as one JSON document: their events with what each field means, and their dead letters.

Events are read from the lake, a batch after the other, so they are as old as its newest commit (the interval of
checkpoints). A web session is theirs, whole, when one of its events has their id.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TextIO

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysFalse, BooleanExpression, In, Or

from insights.privacy.erase import SIMULATED
from insights.privacy.person import PERSON_FIELDS, Held, UnknownPerson
from insights.settings import Settings
from insights.wiring import deployment
from producers.persons.keys import FILE
from producers.persons.letters import Letter
from producers.shop.customer_keys import KeyStore
from reconciliation.dead_letters import DeadLetter
from schemas.catalogue import Event, avro_events
from warehouse.columns import LOG_POSITION
from warehouse.tables import NAMESPACE, open_lake

ENCRYPTED: Final = "_encrypted"
SESSION: Final = "session_id"


def export(settings: Settings, found: Held, exported_at: datetime, out: TextIO) -> int:
    """Write what is held of a person; how many events. Blocks. Raises UnknownPerson when it was erased."""
    if not found.customers and not found.letters:
        raise UnknownPerson(
            f"{found.names[0]} was erased at {found.erased_at:%Y-%m-%d %H:%M} UTC; there is no data since then, so"
            " there is nothing to export"
        )
    head = {"customers": list(found.customers), "exported_at": exported_at.isoformat()}
    out.write(json.dumps(head)[:-1] + ', "events": [')
    written = 0
    with closing(KeyStore(settings.producers_dir / FILE)) as keys, open_lake(deployment(settings)) as lake:
        for place, event in enumerate(e for e in avro_events() if _person_fields(e)):
            out.write(f'{", " if place else ""}{json.dumps(_about(event))[:-1]}, "records": [')
            for index, row in enumerate(_rows(lake, event, found.customers)):
                out.write(f"{', ' if index else ''}\n{json.dumps(_readable(keys, row), ensure_ascii=False)}")
                written += 1
            out.write("]}")
    out.write('], "dead_letters": [')
    for index, (dead, letter) in enumerate(found.letters.values()):
        out.write(f"{', ' if index else ''}\n{json.dumps(_letter(dead, letter), ensure_ascii=False)}")
    out.write("]}\n")
    return written


def _person_fields(event: Event) -> list[str]:
    names = [field["name"] for field in event.schema["fields"]]
    return [name for name in PERSON_FIELDS if name in names]


def _about(event: Event) -> dict[str, Any]:
    """What an event is, and each of its fields, as its contract says."""
    fields = {field["name"].removesuffix(ENCRYPTED): field.get("doc", "") for field in event.schema["fields"]}
    return {"event": event.name, "what": event.schema["doc"], "fields": fields}


def _rows(lake: Catalog, event: Event, customers: Collection[str]) -> Iterator[dict[str, Any]]:
    table = lake.load_table((NAMESPACE, event.table))
    theirs: BooleanExpression = AlwaysFalse()
    for name in _person_fields(event):
        theirs = Or(theirs, In(term=name, literals=set(customers)))
    if any(field["name"] == SESSION for field in event.schema["fields"]) and "user_id" in _person_fields(event):
        batches = table.scan(row_filter=theirs, selected_fields=(SESSION,)).to_arrow_batch_reader()
        sessions = {one for batch in batches for one in batch.column(0).to_pylist()}
        theirs = Or(theirs, In(term=SESSION, literals=sessions))
    for batch in table.scan(row_filter=theirs).to_arrow_batch_reader():
        for row in batch.to_pylist():
            yield {name: value for name, value in row.items() if name not in LOG_POSITION}


def _readable(keys: KeyStore, row: dict[str, Any]) -> dict[str, Any]:
    """As JSON takes it, and with what is sealed in plain: only the simulated shop's customers have such fields."""
    found = {}
    for name, value in row.items():
        field = name.removesuffix(ENCRYPTED)
        number = SIMULATED.fullmatch(str(row.get("customer_id")))
        if field != name and value is not None and number is not None:
            value = keys.unseal(int(number[1]), field, value)
        found[field] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _letter(dead: DeadLetter, letter: Letter) -> dict[str, Any]:
    headers = {**dead.headers, **letter.headers}
    return {"dead_at": dead.dead_at.isoformat(), **headers, "original": letter.original.decode(errors="replace")}
