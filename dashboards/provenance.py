"""What a card is based on: the tables that it reads, their versions, certificates and builds, and so its freshness.

Pure, except for the SQL of two queries that apply to every dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dashboards.format import age_shown, clock
from dashboards.query import Row

Level = Literal["fresh", "quiet", "stale", "none"]
LEVELS: tuple[Level, ...] = ("fresh", "quiet", "stale", "none")
# The stack builds the marts every five minutes.
MART_FRESH_SECONDS, MART_STALE_SECONDS = 900.0, 86_400.0

# A line an aggregate or fact that readers see: its version, and the newest certificate of that version.
VERSIONS_SQL = """
with certified as (
    select distinct on (found.one ->> 'name', found.one ->> 'version')
        found.one ->> 'name' as aggregate,
        cast(found.one ->> 'version' as int) as version,
        replays.run,
        replays.scope,
        replays.verified_at,
        cast(found.one ->> 'mismatches' as bigint) as mismatches
    from ops.replays
    cross join lateral jsonb_array_elements(replays.certificate -> 'aggregates') as found (one)
    where replays.status <> 'superseded' and found.one ->> 'is_new' is null
    order by found.one ->> 'name', found.one ->> 'version', replays.verified_at desc
)
select
    versions.aggregate,
    versions.version,
    versions.since,
    certified.run,
    certified.scope,
    certified.verified_at,
    certified.mismatches
from ops.versions
left join certified using (aggregate, version)
where versions.since is not null
"""
MODELS_SQL = "select relation, built_at, status, upstream from ops.dbt_models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How long ago a card's sources last counted an event, or its mart was built, and how good that is."""

    seconds: float | None
    level: Level
    title: str


def age_of(row: Row, now: datetime) -> Age:
    """The Age of one row of the freshness card."""
    last = row["last_event_at"]
    if last is None:
        return Age(seconds=None, level="none", title=f"{row['title']}: no events yet")
    seconds = max((now - last).total_seconds(), 0.0)
    title = f"{row['title']}: latest event {clock(last)}, {ago(seconds)}"
    return Age(seconds=seconds, level=_level(seconds, row["fresh_seconds"], row["stale_seconds"]), title=title)


def oldest(ages: Sequence[Age]) -> Age | None:
    """The worst of them, or None when there is none."""
    return max(ages, key=lambda a: (LEVELS.index(a.level), a.seconds or 0.0), default=None)


def ago(seconds: float) -> str:
    """``now`` or ``12 s ago``."""
    text = age_shown(seconds)
    return text if text == "now" else f"{text} ago"


def _level(seconds: float, fresh_seconds: float, stale_seconds: float) -> Level:
    return "fresh" if seconds <= fresh_seconds else "quiet" if seconds <= stale_seconds else "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mart:
    """When dbt last built one, and how that went."""

    relation: str
    built_at: datetime | None
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table of the live job: the version that readers see and its newest certificate (``run`` None: none yet)."""

    relation: str
    version: int
    run: str | None
    scope: str
    verified_at: datetime | None
    mismatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """All that stands behind a card. ``others`` are tables that have neither version nor build."""

    marts: tuple[Mart, ...] = ()
    sources: tuple[Source, ...] = ()
    others: tuple[str, ...] = ()

    def ages(self, now: datetime) -> list[Age]:
        """Of its marts."""
        return [_built(mart, now) for mart in self.marts]


class Provenance:
    """What Postgres has recorded of tables and marts, at one moment."""

    def __init__(self, versions: Sequence[Row], models: Sequence[Row]) -> None:
        self._sources: dict[str, Row] = {row["aggregate"]: row for row in versions}
        self._models: dict[str, Row] = {row["relation"]: row for row in models}

    def behind(self, relations: Sequence[str]) -> Behind:
        """The sources of a card that reads these: a mart is based on what it was built from, an aggregate on itself."""
        marts = [r for r in relations if r.startswith(("marts.", "snapshots."))]
        upstream = {source for mart in marts for source in (self._models.get(mart) or {}).get("upstream") or ()}
        read = sorted({*relations, *upstream} - set(marts))
        return Behind(
            marts=tuple(self._mart(relation) for relation in marts),
            sources=tuple(self._source(relation) for relation in read if self._known(relation)),
            others=tuple(relation for relation in read if not self._known(relation) and relation in relations),
        )

    def _known(self, relation: str) -> bool:
        return relation.startswith(("live.", "events.")) and relation.partition(".")[2] in self._sources

    def _mart(self, relation: str) -> Mart:
        row: Mapping[str, object] = self._models.get(relation) or {"built_at": None, "status": "not built"}
        at = row["built_at"]
        return Mart(relation=relation, built_at=at if isinstance(at, datetime) else None, status=str(row["status"]))

    def _source(self, relation: str) -> Source:
        row = self._sources[relation.partition(".")[2]]
        return Source(
            relation=relation,
            version=row["version"],
            run=row["run"],
            scope=row["scope"] or "",
            verified_at=row["verified_at"],
            mismatches=row["mismatches"] or 0,
        )


def _built(mart: Mart, now: datetime) -> Age:
    if mart.built_at is None:
        return Age(seconds=None, level="none", title=f"{mart.relation}: not built by dbt yet")
    seconds = max((now - mart.built_at).total_seconds(), 0.0)
    level = _level(seconds, MART_FRESH_SECONDS, MART_STALE_SECONDS)
    return Age(seconds=seconds, level=level, title=f"{mart.relation}: built {ago(seconds)}")
