"""The list of the stack's parts. Adding one is an entry here."""

from __future__ import annotations

from insights.settings import Settings
from insights.stack.flink import flink_parts
from insights.stack.kafka import kafka_part
from insights.stack.layout import Layout
from insights.stack.part import Part, in_order
from insights.stack.postgres import postgres_part
from insights.stack.registry import registry_part


def servers(settings: Settings, layout: Layout) -> tuple[Part, ...]:
    """What everything else needs: log, registry, tables, engine."""
    return in_order(
        (
            postgres_part(settings, layout),
            kafka_part(settings, layout),
            *flink_parts(settings, layout),
            registry_part(settings, layout),
        )
    )
