"""What the tables, the log and the lake hold, and the first places where two of them differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from aggregates.catalogue import Aggregate, aggregates
from insights.settings import Settings
from insights.wiring import deployment
from schemas.catalogue import Event
from schemas.codec import HEADER, Decoder
from schemas.registry import Registry
from warehouse.tables import open_lake

Row = tuple[Any, ...]
Rows = Mapping[Row, Row]
Place = tuple[int, int]
"""(partition, offset)."""

SHOWN = 5


def difference(expected: Rows, found: Rows, *, expected_is: str = "expected", found_is: str = "found") -> str:
    """The first differing rows side by side, or an empty text when there are none."""
    keys = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    if not keys:
        return ""
    missing = sum(key not in found for key in keys)
    extra = sum(key not in expected for key in keys)
    width = max(len(expected_is), len(found_is))
    lines = [f"{len(keys):,} of {len(expected):,} rows differ ({missing:,} are missing, {extra:,} should not be there)"]
    for key in sorted(keys, key=str)[:SHOWN]:
        lines.append("  " + " | ".join(map(str, key)))
        for name, rows in ((expected_is, expected), (found_is, found)):
            lines.append(f"    {name:>{width}}: " + (" | ".join(map(str, rows[key])) if key in rows else "no row"))
    return "\n".join(lines)


def live_aggregates() -> list[Aggregate]:
    return [a for a in aggregates() if not a.is_fact]


def table(connection: psycopg.Connection[Row], aggregate: Aggregate) -> dict[Row, Row]:
    """All of a ``live`` table: key columns to the others, each in their order."""
    measures = [name for name in aggregate.columns if name not in aggregate.key]
    rows = connection.execute(f"select {', '.join([*aggregate.key, *measures])} from {aggregate.sink}")
    return _keyed(rows, len(aggregate.key))


def _keyed(rows: Iterable[Row], keys: int) -> dict[Row, Row]:
    return {row[:keys]: row[keys:] for row in rows}


FROM_FACTS: Mapping[str, str] = {
    "sales_per_minute": """
        select date_trunc('minute', occurred_at, 'UTC'), region, category,
            count(distinct order_id), sum(quantity), sum(quantity * unit_price), sum(discount_amount), sum(sales_amount)
        from events.order_lines group by 1, 2, 3""",
    "sales_per_day": """
        select date_trunc('day', occurred_at, 'UTC'), region, category, count(distinct order_id),
            count(*) filter (where line = 1), sum(quantity), sum(quantity * unit_price), sum(discount_amount),
            sum(sales_amount)
        from events.order_lines group by 1, 2, 3""",
    "customer_orders_per_day": """
        select date_trunc('day', occurred_at, 'UTC'), customer_id,
            count(distinct order_id), sum(quantity), sum(sales_amount), min(occurred_at), max(occurred_at)
        from events.order_lines group by 1, 2""",
    "refunded_goods_per_day": """
        select date_trunc('day', occurred_at, 'UTC'), region, category,
            count(distinct refund_id), sum(quantity), sum(amount)
        from events.refund_lines group by 1, 2, 3""",
    "refunds_per_day": """
        select date_trunc('day', occurred_at, 'UTC'), region, count(distinct refund_id),
            coalesce(sum(goods), 0), sum(amount) - coalesce(sum(goods), 0), sum(amount)
        from events.refunds
        left join (select event_id, sum(amount) as goods from events.refund_lines group by 1) as lines using (event_id)
        group by 1, 2""",
    "product_activity_per_hour": """
        select date_trunc('hour', occurred_at, 'UTC'), product_id, sum(views), sum(carts), sum(units), sum(sales_amount)
        from (
            select occurred_at, product_id, (interaction = 'product_view')::int as views,
                (interaction = 'add_to_cart')::int as carts, 0 as units, 0::numeric as sales_amount
            from events.interactions where interaction in ('product_view', 'add_to_cart')
            union all
            select occurred_at, product_id, 0, 0, quantity, sales_amount from events.order_lines
        ) as activity group by 1, 2""",
    "sessions": """
        select date_trunc('day', session_started_at, 'UTC'), session_id,
            max(user_id), min(region), min(campaign), min(session_started_at), max(occurred_at),
            count(*) filter (where interaction = 'page_view'), count(*) filter (where interaction = 'product_view'),
            count(*) filter (where interaction = 'add_to_cart'), count(*) filter (where interaction = 'checkout'),
            count(*) filter (where interaction = 'purchase')
        from events.interactions group by 1, 2""",
    "funnel_per_hour": """
        select date_trunc('hour', occurred_at, 'UTC'), campaign is not null, coalesce(campaign, ''),
            count(distinct session_id), count(distinct session_id) filter (where interaction = 'product_view'),
            count(distinct session_id) filter (where interaction = 'add_to_cart'),
            count(distinct session_id) filter (where interaction = 'checkout'),
            count(distinct session_id) filter (where interaction = 'purchase')
        from events.interactions group by 1, 2, 3""",
    "price_changes": """
        select date_trunc('hour', occurred_at, 'UTC'), shop, product_id, occurred_at, currency,
            min(name), min(previous_price), min(price)
        from events.product_observations where previous_price <> price group by 1, 2, 3, 4, 5""",
}
"""What an aggregate must hold, from the facts of the same events; stock moves have no fact."""


def from_facts(connection: psycopg.Connection[Row], aggregate: Aggregate) -> dict[Row, Row]:
    return _keyed(connection.execute(FROM_FACTS[aggregate.name]), len(aggregate.key))


def log_ends(settings: Settings, event: Event) -> dict[int, int]:
    """Partition to the offset after its last record."""
    admin = AdminClient({**settings.kafka.librdkafka, "log_level": 0})
    wanted = {TopicPartition(event.topic, n): OffsetSpec.latest() for n in range(event.partitions)}
    found = admin.list_offsets(wanted, request_timeout=30)
    return {place.partition: future.result().offset for place, future in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A record as it stands in the log. ``schema_id`` is its wire format's, ``header_id`` its header's."""

    event_id: str
    schema_id: int
    header_id: int


def log(settings: Settings, event: Event, since: Mapping[int, int] | None = None) -> dict[Place, Logged]:
    """Every record of a topic from the offsets ``since`` on, by its place."""
    ends = log_ends(settings, event)
    starts = {n: (since or {}).get(n, 0) for n in ends}
    decoder, found = Decoder(Registry(settings.registry_url)), {}
    left = sum(ends.values()) - sum(starts.values())
    consumer = Consumer({**settings.kafka.librdkafka, "group.id": "e2e", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(event.topic, n, starts[n] or OFFSET_BEGINNING) for n in ends])
        while left > 0:
            # It waits for as many as it is asked for.
            messages = consumer.consume(min(left, 5_000), timeout=30)
            assert messages, f"{event.topic} gave nothing for 30 s, before its ends {ends}"
            for message in messages:
                assert not message.error(), str(message.error())
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                if offset < ends[partition]:
                    found[partition, offset] = _logged(decoder, message)
                    left -= 1
    finally:
        consumer.close()
    return found


def _logged(decoder: Decoder, message: Any) -> Logged:
    _, schema_id = HEADER.unpack_from(message.value())
    header = int(dict(message.headers() or [])["schema_id"])
    return Logged(event_id=decoder.decode(message.value())[1]["event_id"], schema_id=schema_id, header_id=header)


def lake(settings: Settings, event: Event, *more_columns: str) -> list[dict[str, Any]]:
    """Every row of the event's table in the lake: its place in the log and the columns asked for."""
    columns = ("kafka_partition", "kafka_offset", *more_columns)
    with closing(open_lake(deployment(settings))) as catalog:
        archived = catalog.load_table(f"events.{event.table}").scan(selected_fields=columns).to_arrow()
    rows: list[dict[str, Any]] = archived.to_pylist()
    return rows


def lake_rows(settings: Settings, event: Event) -> int:
    """How many rows the event's table in the lake has, by its metadata."""
    with closing(open_lake(deployment(settings))) as catalog:
        return catalog.load_table(f"events.{event.table}").scan().count()


def lake_problems(rows: Iterable[Mapping[str, Any]], ends: Mapping[int, int]) -> list[str]:
    """How the lake's rows differ from a log with these end offsets: each record must be there exactly once."""
    offsets: dict[int, list[int]] = {partition: [] for partition in ends}
    for row in rows:
        offsets.setdefault(row["kafka_partition"], []).append(row["kafka_offset"])
    problems = []
    for partition, there in sorted(offsets.items()):
        end, times = ends.get(partition, 0), Counter(there)
        missing = sorted(set(range(end)) - times.keys())
        doubled = sorted(offset for offset, number in times.items() if number > 1)
        if missing or len(there) != end:
            problems.append(
                f"partition {partition}: {len(there):,} rows for {end:,} records;"
                f" missing offsets {missing[:SHOWN]} ({len(missing):,}), twice {doubled[:SHOWN]} ({len(doubled):,})"
            )
    return problems
