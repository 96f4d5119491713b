"""The parts that read what strangers send, and what each does to some bytes. A new part is an entry in ``PARTS``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

from producers.collect import keys as collect_keys
from producers.collect.batch import BadBatch, read
from producers.collect.intake import Intake as Collecting
from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind
from producers.connect.intake import Intake as Connecting
from producers.connect.memory import FILE, Memory
from producers.connect.orders import BadOrder
from producers.connect.platforms import platform_of
from producers.gate.check import Checker
from producers.gate.intake import Intake as Gate
from producers.gate.letters import SentLetters
from producers.gate.writers import Writers
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.scraping.fetching import Fetched
from producers.sources import source
from producers.vehicles import positions
from producers.vehicles import source as vehicles
from producers.vehicles.feeds import Feed
from producers.vehicles.memory import Memory as Vehicles
from producers.vehicles.positions import UnreadableFeed
from producers.wiki import source as wiki
from producers.wiki.seen import Seen
from producers.wiki.sse import Reader
from schemas.catalogue import Event, event
from schemas.codec import Decoder
from schemas.errors import PoisonEvent
from schemas.kafka import Kafka
from tests.producers.collect.test_batches import EVENT
from tests.producers.collect.test_batches import body as batch_of
from tests.producers.connect.conftest import connection_of, shopify_connection
from tests.producers.gate.in_memory import ENCODER
from tests.producers.gate.records import OLDER, OLDER_ID, ORDER, Known, in_avro, in_json, order, typed
from tests.producers.gate.test_intake import Topic
from tests.shops.recent_changes import RecentChanges
from tests.shops.shopify import Shopify
from tests.shops.shopify_orders import order_json
from tests.shops.transit import Transit
from tests.shops.woocommerce import WooCommerce
from tests.web.test_hostile_pages import PAGES
from tests.web.test_hostile_pages import accounted as page_accounted

Account = Callable[[bytes], str]
"""What became of some bytes, in a word. Raises AssertionError when they are not accounted for."""


class Part(NamedTuple):
    """A reader of strangers' bytes. ``made`` gives it a folder; ``whole`` are good inputs, to be spoiled."""

    name: str
    made: Callable[[Path], Account]
    whole: Callable[[], list[bytes]]


LETTERS = event("ops.dead_letter")


class Ids:
    """A registry that knows every contract."""

    def register(self, event: Event) -> int:
        return 1


class Ledger(Publisher):
    """The publisher, but what it would send it counts and forgets."""

    def __init__(self) -> None:
        nowhere = {"log_level": 0}
        super().__init__(
            Kafka("127.0.0.1:1"), Ids(), client_id="t", currency="EUR", settings=nowhere, clock=NOW.timestamp
        )
        self.events = 0
        self.letters = 0

    def _send(self, topic: str, key: Any, value: bytes, headers: list[tuple[str, Any]]) -> None:
        is_letter = topic == LETTERS.topic
        self.letters += is_letter
        self.events += not is_letter

    def flush(self, deadline_seconds: float = 0.0) -> None: ...

    def sent_since(self, before: tuple[int, int]) -> tuple[int, int]:
        return self.events - before[0], self.letters - before[1]


class Quiet:
    """A log of which nobody reads 100,000 lines."""

    def warning(self, event: str, **said: Any) -> None: ...

    info = warning


def run_in(folder: Path, name: str, ledger: Ledger) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(state=folder)
    return Run(
        source=source(name), options=options, publisher=ledger, stop=Stop(), log=cast(Any, Quiet()), clock=NOW.timestamp
    )


def gate(folder: Path) -> Account:
    """Keys and headers are made of the value, so that a seed says all."""
    ledger = Ledger()
    this, persons = run_in(folder, "gate", ledger), PersonKeys(folder)
    nothing_sent = SentLetters(Kafka("nowhere:1"), open_consumer=lambda _: Topic([]))
    checkers = {ORDER.ingress: (ORDER, Checker(ORDER, Writers(ORDER, Known()), persons))}
    intake = Gate(this, checkers, Letters(ledger, persons, NOW.timestamp), nothing_sent, lambda: frozenset({"bikes"}))
    offsets = iter(range(10**9))

    def account(value: bytes) -> str:
        before, rng = (ledger.events, ledger.letters), Random(value)
        key = rng.choice((None, None, b"C1", b"", rng.randbytes(3)))
        headers = [
            (rng.choice(("a", "\u20ac" * 300, "")), rng.choice((None, rng.randbytes(5))))
            for _ in range(rng.choice((0, 1, 40)))
        ]
        intake.add(value, key, int(NOW.timestamp() * 1000), headers, ORDER.ingress, 0, next(offsets))
        events, letters = ledger.sent_since(before)
        assert events + letters == 1
        return "event" if events else "dead letter"

    return account


def codec(_: Path) -> Account:
    decoder = Decoder(Known())

    def account(value: bytes) -> str:
        try:
            _, record = decoder.decode(value)
            ENCODER.encode(record)
        except PoisonEvent:
            return "poison"
        return "event"

    return account


def collector(folder: Path) -> Account:
    ledger = Ledger()
    this = run_in(folder, "collect", ledger)
    key = collect_keys.Key(name="bikes", key="k", origins=frozenset())
    intake = Collecting(this, collect_keys.opened(folder), lambda: EVENT["at"] + 60_000)  # type: ignore[operator]

    def account(value: bytes) -> str:
        before = ledger.events, ledger.letters
        try:
            batch = read(value)
        except BadBatch:
            return "no batch"
        taken = intake.take(key, ("v1",), batch)
        assert taken.accepted + len(taken.refused) == batch.size
        assert ledger.sent_since(before) == (taken.accepted, len(taken.refused))
        return "events" if taken.accepted else "dead letters"

    return account


def receiver(shop: WooCommerce | Shopify, *, is_answer: bool = False) -> Callable[[Path], Account]:
    """A shop's webhooks, or its answers when it is asked for an order."""

    def made(folder: Path) -> Account:
        ledger = Ledger()
        this = run_in(folder, "connections", ledger)
        connection = connected(shop)
        platform = platform_of(connection)
        intake = Connecting(this, Memory(folder / FILE))

        def account(value: bytes) -> str:
            before = ledger.events, ledger.letters
            try:
                heard = Heard(Kind.ORDER) if is_answer else platform.hear(shop.signed(value), value, connection)
            except BadOrder as bad:
                intake.refuse(connection, value, bad)
            else:
                if heard.kind is not Kind.ORDER:
                    return heard.kind.name.lower()
                intake.take(connection, value, is_answer=is_answer)
            events, letters = ledger.sent_since(before)
            return "events" if events else "dead letters" if letters else "said before"

        return account

    return made


def connected(shop: WooCommerce | Shopify) -> Connection:
    since = shop.now - timedelta(days=1)
    return (
        shopify_connection(shop, "bikes", since) if isinstance(shop, Shopify) else connection_of(shop, "bikes", since)
    )


def stream(folder: Path) -> Account:
    ledger = Ledger()
    intake = wiki.Intake(run_in(folder, "wiki", ledger), Seen(folder / "wiki.sqlite", "made up"), PersonKeys(folder))

    def account(value: bytes) -> str:
        reader, taken, sent = Reader(wiki.MOST_BYTES), intake.counts.copy(), (ledger.events, ledger.letters)
        messages = [each for piece in pieces_of(value) for each in reader.feed(piece)]
        for each in messages:
            intake.take(each)
        became = intake.counts - taken
        assert became.total() == len(messages)
        assert ledger.sent_since(sent) == (became["published"], became["dead"])
        intake.commit()
        return " and ".join(sorted(became)) or "no message"

    return account


def pieces_of(value: bytes) -> list[bytes]:
    """As a connection delivers them: they end anywhere."""
    rng = Random(value)
    ends = sorted(rng.randrange(len(value) + 1) for _ in range(rng.randrange(6)))
    return [value[start:end] for start, end in zip([0, *ends], [*ends, len(value)], strict=True)]


def feed(folder: Path) -> Account:
    ledger = Ledger()
    this = run_in(folder, "vehicles", ledger)
    memory = Vehicles(folder / "vehicles.sqlite")

    def account(value: bytes) -> str:
        async def fetch(*_: Any) -> Fetched:
            return Fetched(url="https://city.example", body=value)

        sent = ledger.events, ledger.letters
        asyncio.run(vehicles.FeedReader(this, memory, Feed("city", "https://city.example"), fetch).poll())
        events, _ = ledger.sent_since(sent)
        try:
            found = positions.read(value, NOW.timestamp())
        except UnreadableFeed:
            assert not events
            return "unreadable"
        entities = sum(number == positions.ENTITY_FIELD for number, _ in positions.fields(value))
        assert len(found.positions) + found.left_out.total() == entities
        assert events <= len(found.positions)
        return "events" if events else "nothing new"

    return account


def pages(_: Path) -> Account:
    return page_accounted


NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
WOO, SHOPIFY = WooCommerce(now=NOW), Shopify(now=NOW)
ORDERS = 500  # one that was published before is only looked at


def whole_of(said: Any) -> Any:
    """What Shopify's API pages, in one piece."""
    if isinstance(said, dict) and "edges" in said:
        return [whole_of(edge["node"]) for edge in said["edges"]]
    if isinstance(said, dict):
        return whole_of(said["nodes"]) if "nodes" in said else {name: whole_of(each) for name, each in said.items()}
    return [whole_of(each) for each in said] if isinstance(said, list) else said


def answered() -> bytes:
    return json.dumps(whole_of(order_json(SHOPIFY.place(), agreements=20, sales=20))).encode()


CHANGES = RecentChanges(200)


def busses(seed: int) -> bytes:
    return Transit(5, seed=seed, at=int(NOW.timestamp())).feed.SerializePartialToString()


IN_AVRO = [in_avro(typed()), in_avro(typed(), OLDER_ID, OLDER)]
PARTS = (
    Part("gate", gate, lambda: [in_json(order()), *IN_AVRO]),
    Part("codec", codec, lambda: IN_AVRO),
    Part("collector", collector, lambda: [batch_of(EVENT, {**EVENT, "id": "e2"}, visitor="v1")]),
    Part("receiver of WooCommerce", receiver(WOO), lambda: [WOO.delivery(WOO.place()).body for _ in range(ORDERS)]),
    Part("receiver of Shopify", receiver(SHOPIFY), lambda: [SHOPIFY.delivery(SHOPIFY.place()).body for _ in range(8)]),
    Part("orders of Shopify", receiver(SHOPIFY, is_answer=True), lambda: [answered() for _ in range(ORDERS)]),
    Part("server-sent events", stream, lambda: [CHANGES.message(each) for each in CHANGES.changes]),
    Part("protobuf", feed, lambda: [busses(seed) for seed in range(20)]),
    Part("page parser", pages, lambda: PAGES),
)
