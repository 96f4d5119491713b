"""What the data is asked before a dashboard becomes one of Metabase's: its currency, and the scale of heat maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dashboards.metabase.looks import HeatScale
from dashboards.metabase.render import Facts
from dashboards.model import Dashboard, HeatmapCard
from dashboards.query import Question, Row, question

Ask = Callable[[Question], tuple[Row, ...]]


def defaults(dashboard: Dashboard, ask: Ask) -> dict[str, str]:
    """The value of each parameter for a reader who has chosen nothing."""
    values: dict[str, str] = {}
    for parameter in dashboard.parameters:
        values[parameter.name] = parameter.default
        if parameter.choices_sql and not parameter.all:
            rows = ask(question(dashboard.expanded(parameter.choices_sql), values))
            values[parameter.name] = str(rows[0]["value"]) if rows else ""
    return values


def facts(dashboard: Dashboard, ask: Ask) -> Facts:
    """Asks the data. Blocks for a few queries. Raises what ``ask`` raises."""
    values = defaults(dashboard, ask)
    heat_maps = [card for card in dashboard.cards if isinstance(card, HeatmapCard)]
    return Facts(
        currency=_currency(dashboard, ask),
        scales={card.id: _scale(card, ask(question(dashboard.expanded(card.sql), values))) for card in heat_maps},
    )


def without_data(dashboard: Dashboard) -> Facts:
    """What the file itself says."""
    return Facts(currency=dashboard.currency)


def _currency(dashboard: Dashboard, ask: Ask) -> str:
    if not dashboard.currency_sql:
        return dashboard.currency
    rows = ask(question(dashboard.expanded(dashboard.currency_sql), {}))
    return str(next(iter(rows[0].values()))) if rows else dashboard.currency


def _scale(card: HeatmapCard, rows: tuple[Mapping[str, Any], ...]) -> HeatScale:
    columns = tuple(dict.fromkeys(str(row[card.column]) for row in rows))
    values = [float(row[card.value]) for row in rows if row[card.value] is not None]
    return HeatScale(columns=columns, most=card.most or max(values, default=0.0) or 1.0)
