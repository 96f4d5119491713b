"""Renders an aggregate's query.sql for an engine.

A query is plain SQL that Flink, Spark and DuckDB all take, over two kinds of relation that each engine provides:
``order_placed`` (one row an event, duplicates and late ones gone) and ``order_placed_lines`` (one row an item of the
event's ``lines``, with ``line`` from 1; a field of the item hides the event's of the same name). So it is with every
array of records: ``order_placed_discounts`` has ``discount`` from 1. Where the engines differ there is a macro, and
this is all of them:

=================================  =================================================================
``window_start('hour', column)``   start of the window that a time falls into: a day of the shop's time zone, which
                                   is arithmetic with the zone's offsets from UTC, the same in every engine
``money(expression)``              exact decimal with 38 digits, 2 of them after the point
``charge(expression)``             the same with 3: an amount in whatever currency was charged
``rate(expression)``               the same with 12: a rate between two currencies
``total(expression)``              sum as a 64-bit integer
``last_item(column)``              last element of an array, null when it is empty
``placed_at()``                    when an order was placed, which is its ``occurred_at`` unless it counts by payment
=================================  =================================================================

A name that some engine reserves stands in backticks; DuckDB gets it in double quotes. Lines stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum

import jinja2

from aggregates.catalogue import SCALES, Aggregate, Window
from aggregates.zones import FIRST, Table, Zone
from schemas.binary import EPOCH
from schemas.errors import Misconfigured
from schemas.versions import PLACED


class Engine(StrEnum):
    """What a query is rendered for."""

    FLINK = "flink"
    SPARK = "spark"
    DUCKDB = "duckdb"


TEXT_REMARK_OR_BACKTICK = re.compile(r"'[^']*'|--[^\n]*|`")


def _window_start(engine: Engine, zone: Zone | None) -> Callable[[Window, str], str]:
    def floor(window: Window, time: str) -> str:
        if engine is Engine.FLINK:
            return f"cast(floor({time} to {window}) as timestamp(3))"
        return f"date_trunc('{window}', {time})"

    def later(time: str, seconds: str) -> str:
        if engine is Engine.DUCKDB:
            return f"{time} + to_seconds({seconds})"
        return f"timestampadd(second, {seconds}, {time})"

    def of_the_shop(window: Window, column: str) -> str:
        if zone is None or window == "minute":
            return floor(window, column)
        wall_clock = floor(window, later(column, _case(zone.offsets, column, str)))
        if window == "day":
            return later(wall_clock, _case(zone.day_offsets, column, lambda seconds: str(-seconds)))
        start = later(wall_clock, _case(zone.offsets, column, lambda seconds: str(-seconds)))
        return f"greatest({start}, {_case(zone.changes, column, _timestamp)})"

    return of_the_shop


def shop_time(zone: Zone | None, moment: str) -> str:
    """What the shop's clock shows at a time with a zone, as an expression of Postgres: a time without one."""
    if zone is None:
        return f"{moment} at time zone 'UTC'"
    offset = _case(zone.offsets, moment, str, "timestamptz '{}+00'")
    return f"{moment} at time zone 'UTC' + make_interval(secs => {offset})"


def of_each_shop(zones: Mapping[str, Zone | None]) -> tuple[str, str]:
    """What one shop's clock shows at ``moment``, and its zone's name, as queries of Postgres by ``shop``."""
    shops: dict[Zone | None, list[str]] = {}
    for shop, zone in zones.items():
        shops.setdefault(zone, []).append(f"'{shop}'")
    whose = {zone: f"when shop in ({', '.join(names)}) then" for zone, names in shops.items()}
    times = [f"{when} {shop_time(zone, 'moment')}" for zone, when in whose.items()]
    names = [f"{when} '{zone.name if zone else 'UTC'}'" for zone, when in whose.items()]
    return _by_shop(times, "ops.shop_time(moment)"), _by_shop(names, "ops.shop_zone()")


def _by_shop(cases: list[str], of_others: str) -> str:
    return f"select case {' '.join(cases)} else {of_others} end" if cases else f"select {of_others}"


TIMESTAMP = "timestamp '{}'"


def _case(table: Table, column: str, written: Callable[[int], str], literal: str = TIMESTAMP) -> str:
    """The value of the table at the time in the column, found by halves."""
    if len(table) == 1:
        return written(table[0][1])
    half = len(table) // 2
    before, after = (_case(part, column, written, literal) for part in (table[:half], table[half:]))
    return f"case when {column} < {_timestamp(table[half][0], literal)} then {before} else {after} end"


def _timestamp(seconds: int, literal: str = TIMESTAMP) -> str:
    return literal.format(f"{max(EPOCH + timedelta(seconds=seconds), FIRST):%Y-%m-%d %H:%M:%S}")


def _last_item(engine: Engine) -> Callable[[str], str]:
    if engine is Engine.FLINK:
        # Flink's [0] of an empty array of texts that can't be null is an empty text.
        return lambda column: f"case when cardinality({column}) > 0 then {column}[cardinality({column})] end"
    if engine is Engine.SPARK:
        return lambda column: f"try_element_at({column}, -1)"
    return lambda column: f"{column}[-1]"


def _total(engine: Engine) -> Callable[[str], str]:
    # Flink adds ints up to an int, which overflows; DuckDB adds bigints up to 128 bits.
    if engine is Engine.DUCKDB:
        return lambda expression: f"cast(sum(cast({expression} as bigint)) as bigint)"
    return lambda expression: f"sum(cast({expression} as bigint))"


def _exact(scale: int) -> Callable[[str], str]:
    return lambda expression: f"cast({expression} as decimal(38, {scale}))"


def macros(engine: Engine, zone: Zone | None = None) -> dict[str, Callable[..., str]]:
    """Name to function, each giving a SQL expression."""
    return {
        "window_start": _window_start(engine, zone),
        **{name: _exact(scale) for name, scale in SCALES.items()},
        "total": _total(engine),
        "last_item": _last_item(engine),
    }


def render(aggregate: Aggregate, engine: Engine) -> str:
    """SQL text, line for line the template's. Raises Misconfigured with file and line when that is wrong."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 it renders SQL
    environment.globals.update(macros(engine, aggregate.zone))
    environment.globals["placed_at"] = lambda: PLACED if aggregate.payment else "occurred_at"
    try:
        text = environment.from_string(aggregate.query).render().rstrip()
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", "?")
        raise Misconfigured(f"{aggregate.folder / 'query.sql'} line {line}: {error}") from error
    return TEXT_REMARK_OR_BACKTICK.sub(_in_double_quotes, text) if engine is Engine.DUCKDB else text


def _in_double_quotes(found: re.Match[str]) -> str:
    return '"' if found[0] == "`" else found[0]
