"""Who a person is here, and where something of theirs lies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import sql

from insights.settings import Settings
from producers.connect.connections import shops
from producers.connect.orders import guest
from producers.persons.keys import PersonKeys
from producers.persons.letters import SEALED, Letter, opened
from reconciliation import dead_letters
from reconciliation.dead_letters import DeadLetter
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import InsightsError
from schemas.kafka import Kafka
from warehouse import postgres

PERSON_FIELDS: Final = ("customer_id", "user_id")
TABLES: Final = """
select table_schema, table_name, column_name
from information_schema.columns join information_schema.tables using (table_schema, table_name)
where table_type = 'BASE TABLE' and column_name = any(%s) and data_type = 'text'
    and table_schema not in ('pg_catalog', 'information_schema')
order by table_schema, table_name, column_name
"""


class UnknownPerson(InsightsError):
    """Nothing here is known of somebody, or it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held of a person.

    Attributes:
        names: what they were ever called here, as far as anything has it.
        customers: those of the names that are not erased.
        rows: of theirs, by table in Postgres.
        letters: their dead letters that can still be read, by id.
        erased_at: when they were erased last, UTC; None if never.
    """

    names: tuple[str, ...]
    customers: tuple[str, ...]
    rows: dict[str, int]
    letters: dict[str, tuple[DeadLetter, Letter]]
    erased_at: datetime | None


def held(settings: Settings, keys: PersonKeys, said: str, mentioning: Sequence[str] = ()) -> Held:
    """What is held of the customer with this id or e-mail address. Blocks: it reads tables and dead letters.

    ``mentioning``: texts by which dead letters are theirs that nobody can attribute. Raises UnknownPerson, PostgresAway
    and BrokerUnavailable.
    """
    possible = names(settings, keys, said)
    rows, having = rows_of(settings.postgres_dsn, possible)
    attributed = {name for name in possible if keys.letters_of([name])}
    texts = [*mentioning, *([said] if "@" in said else [])]
    letters = dict(letters_of(settings.kafka, keys, possible, texts))
    erased = {name: at_ms for name in possible if (at_ms := keys.erased_ms(name)) is not None}
    called = tuple(name for name in possible if name in having or name in attributed or name in erased)
    if not called and not letters:
        raise UnknownPerson(
            f"there is no data about {said!r}: it is neither a customer id in the tables (such as events.orders) nor"
            " the e-mail address of a guest or of a customer in an order file. Data of the last seconds may still be"
            " in flight"
        )
    return Held(
        names=called,
        customers=tuple(name for name in called if name not in erased),
        rows=rows,
        letters=letters,
        erased_at=EPOCH + max(erased.values()) * MILLISECOND if erased else None,
    )


def names(settings: Settings, keys: PersonKeys, said: str) -> list[str]:
    """What the person may be called here: the id itself, its pseudonyms, and what each became by an erasure."""
    first = [said, *(keys.pseudonym(source, said) for source in keys.sources())]
    if "@" in said:
        first += [guest(said, "", shop) for shop in shops(settings.producers_dir)]
    return list(dict.fromkeys(name for each in first for name in keys.lives(each)))


def rows_of(dsn: str, customers: Collection[str]) -> tuple[dict[str, int], set[str]]:
    """How many rows have one of these customers, by table, and which of them have any. Raises PostgresAway."""
    found: Counter[str] = Counter()
    having: set[str] = set()
    with postgres.opened(dsn) as connection:
        for schema, table, column in connection.execute(TABLES.encode(), (list(PERSON_FIELDS),)).fetchall():
            name, place = sql.Identifier(column), sql.Identifier(schema, table)
            asked = sql.SQL("select {0}, count(*) from {1} where {0} = any(%s) group by 1").format(name, place)
            for customer, rows in connection.execute(asked, (list(customers),)).fetchall():
                found[f"{schema}.{table}"] += rows
                having.add(customer)
    return dict(found), having


def letters_of(
    kafka: Kafka, keys: PersonKeys, customers: Collection[str], texts: Collection[str]
) -> Iterator[tuple[str, tuple[DeadLetter, Letter]]]:
    """The letters on the log that are known to be theirs, or in which one of the texts stands, in any case."""
    theirs = keys.letters_of(customers)
    wanted = [form for text in texts for form in written(text)]
    for each in dead_letters.every(kafka):
        letter = opened(keys, each.headers.get(SEALED, ""), each.value) if SEALED in each.headers else None
        if letter is None:
            continue
        content = " ".join(letter.headers.values()).encode() + letter.original
        folded = content.decode(errors="replace").casefold()
        if each.headers[SEALED] in theirs or any(form in folded for form in wanted):
            yield each.headers[SEALED], (each, letter)


def written(text: str) -> list[str]:
    """How a text may stand in bytes that came: as it is, and as JSON writes it in ASCII, both in lower case."""
    return list(dict.fromkeys((text.casefold(), json.dumps(text)[1:-1].casefold())))
