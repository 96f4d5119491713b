"""What a dashboard's file becomes in Metabase: cards, a dashboard with filters, and the request bodies. Pure.

Ids that only Metabase knows (of a database, a collection, a card, another dashboard) are passed in when a body is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.cards import Card, Layout, TableCard, TableColumn
from dashboards.metabase.identity import described
from dashboards.metabase.native_query import NativeQuery, native, stands_for_a_value
from dashboards.metabase.visualization import column_key, look
from dashboards.model import Dashboard, Parameter
from schemas.errors import Misconfigured

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetabaseCard:
    """A question in Metabase. ``key`` is the file's name and the card's id; ``layout`` is None when it lies nowhere."""

    key: str
    name: str
    description: str
    display: str
    settings: Body
    query: NativeQuery
    layout: Layout | None = None
    clicks: tuple[TableColumn, ...] = ()

    def payload(self, *, database: int, collection: int) -> Body:
        """The body that makes it."""
        return {
            "name": self.name,
            "description": described(self.key, self.description),
            "type": "question",
            "display": self.display,
            "visualization_settings": self.settings,
            "dataset_query": self.query.payload(self.key, database),
            "collection_id": collection,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MetabaseDashboard:
    """A dashboard, with its cards and the cards that its filters take their values from."""

    name: str
    title: str
    description: str
    cards: tuple[MetabaseCard, ...]
    choices: Mapping[str, MetabaseCard]
    parameters: tuple[Parameter, ...]

    @property
    def all_cards(self) -> tuple[MetabaseCard, ...]:
        return (*self.choices.values(), *self.cards)

    def payload(self, *, collection: int) -> Body:
        """The body that makes it, empty."""
        return {
            "name": self.title,
            "description": described(self.name, self.description),
            "collection_id": collection,
        }

    def filters(self, numbers: Mapping[str, int]) -> list[Body]:
        """Its ``parameters``. ``numbers``: a card's by its key."""
        return [self._filter(parameter, numbers) for parameter in self.parameters]

    def dashcards(self, numbers: Mapping[str, int], dashboards: Mapping[str, int]) -> list[Body]:
        """Its cards in their places, all as new ones. ``numbers`` of cards by key, of dashboards by their file."""
        return [
            self._dashcard(card, numbers, dashboards) | {"id": -place}
            for place, card in enumerate(self.cards, start=1)
            if card.layout
        ]

    def _filter(self, parameter: Parameter, numbers: Mapping[str, int]) -> Body:
        wanted = {
            "id": parameter.name,
            "name": parameter.title,
            "slug": parameter.name,
            "type": "string/=",
            "sectionId": "string",
            "isMultiSelect": False,
            # A list to search in takes a value that is not in it, too.
            "values_query_type": "search" if parameter.free else "list",
        }
        if parameter.default:
            wanted |= {"default": [parameter.default], "required": True}
        if parameter.choices:
            values = [[choice.value, choice.title] for choice in parameter.choices]
            return wanted | {"values_source_type": "static-list", "values_source_config": {"values": values}}
        source = {
            "card_id": numbers[self.choices[parameter.name].key],
            "value_field": ["field", "value", {"base-type": "type/Text"}],
            "label_field": ["field", "title", {"base-type": "type/Text"}],
        }
        return wanted | {"values_source_type": "card", "values_source_config": source}

    def _dashcard(self, card: MetabaseCard, numbers: Mapping[str, int], dashboards: Mapping[str, int]) -> Body:
        assert card.layout
        number = numbers[card.key]
        mappings = [
            {"parameter_id": p.name, "card_id": number, "target": ["variable", ["template-tag", p.name]]}
            for p in card.query.parameters
        ]
        clicks = {column_key(c.column): {"click_behavior": _click(c, dashboards)} for c in card.clicks}
        return {
            "card_id": number,
            "row": card.layout.row,
            "col": card.layout.col,
            "size_x": card.layout.width,
            "size_y": card.layout.height,
            "parameter_mappings": mappings,
            "series": [],
            "visualization_settings": {"column_settings": clicks} if clicks else {},
        }


def _click(column: TableColumn, dashboards: Mapping[str, int]) -> Body:
    """What a click on a value does: it sets a filter, here or on another dashboard."""
    parameter, value = column.sets, column.key or column.column
    mapping = {
        parameter: {
            "id": parameter,
            "source": {"type": "column", "id": value, "name": value},
            "target": {"type": "parameter", "id": parameter},
        }
    }
    if column.opens is None:
        return {"type": "crossfilter", "parameterMapping": mapping}
    target = {"linkType": "dashboard", "targetId": dashboards[column.opens]}
    return {"type": "link", **target, "parameterMapping": mapping}


def render(name: str, dashboard: Dashboard, currency: str) -> MetabaseDashboard:
    """The dashboard of the file ``name``, with money in ``currency``.

    Raises Misconfigured for SQL that Metabase would read otherwise.
    """
    return MetabaseDashboard(
        name=name,
        title=dashboard.title,
        description=dashboard.description,
        cards=tuple(_card(name, dashboard, card, currency) for card in dashboard.cards),
        choices={p.name: _choices(name, dashboard, p, p.choices_sql) for p in dashboard.parameters if p.choices_sql},
        parameters=dashboard.parameters,
    )


def _card(name: str, dashboard: Dashboard, card: Card, currency: str) -> MetabaseCard:
    key = f"{name}/{card.id}"
    looks = look(card, currency)
    clicks = [column for column in card.columns if column.sets] if isinstance(card, TableCard) else []
    return MetabaseCard(
        key=key,
        name=card.title,
        description=card.description,
        display=looks.display,
        settings=looks.settings,
        query=_checked(key, native(dashboard, looks.wrap.replace("{sql}", card.sql))),
        layout=card.layout,
        clicks=tuple(clicks),
    )


def _choices(name: str, dashboard: Dashboard, parameter: Parameter, sql: str) -> MetabaseCard:
    """The question that a filter takes its values from."""
    key = f"{name}/choices_{parameter.name}"
    return MetabaseCard(
        key=key,
        name=f"{dashboard.title}: choices of {parameter.title.lower()}",
        description="The choices of a filter.",
        display="table",
        settings={},
        query=_checked(key, native(dashboard, sql)),
    )


def _checked(key: str, query: NativeQuery) -> NativeQuery:
    if found := list(stands_for_a_value(query.sql)):
        raise Misconfigured(
            f"card {key}: {found[0]} in its SQL has a question mark, which Metabase's driver takes for the place of a"
            " value; use a function instead (jsonb_exists for ?, jsonb_path_exists for @?)"
        )
    return query


def missing_targets(dashboards: Iterable[MetabaseDashboard]) -> list[str]:
    """Links that lead to no dashboard of these, or to one without the filter that they set; a line each."""
    known = {d.name: {p.name for p in d.parameters} for d in dashboards}
    return [
        f"card {card.key}, column {column.column}: opens {column.opens}, which has no parameter {column.sets}"
        if column.opens in known
        else f"card {card.key}, column {column.column}: opens {column.opens}, and there is no such dashboard"
        for dashboard in dashboards
        for card in dashboard.cards
        for column in card.clicks
        if column.opens and column.sets not in known.get(column.opens, ())
    ]


def merged(wanted: Sequence[Body], found: Sequence[Mapping[str, Any]], ours: frozenset[int]) -> list[Body]:
    """Dashcards to send: ours with the ids that they have there, then those that somebody else added.

    ``ours``: numbers of all cards that are ours, those that leave the dashboard included.
    """
    there: dict[int, Mapping[str, Any]] = {}
    for one in found:
        if one.get("card_id") in ours:
            there.setdefault(one["card_id"], one)
    tabs = [one["dashboard_tab_id"] for one in found if one.get("dashboard_tab_id")]
    kept = ("dashboard_tab_id", "id")
    sent = []
    for one in wanted:
        if before := there.get(one["card_id"]):
            sent.append(one | {name: before[name] for name in kept if before.get(name) is not None})
        else:
            sent.append(one | ({"dashboard_tab_id": tabs[0]} if tabs else {}))
    return sent + [_sendable(one) for one in found if one.get("card_id") not in ours]


FOREIGN_FIELDS = (
    *("id", "card_id", "row", "col", "size_x", "size_y", "parameter_mappings", "series", "visualization_settings"),
    *("dashboard_tab_id", "action_id", "inline_parameters"),
)


def _sendable(dashcard: Mapping[str, Any]) -> Body:
    return {name: dashcard[name] for name in FOREIGN_FIELDS if name in dashcard}
