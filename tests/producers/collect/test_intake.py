"""What the collector's letters say, so that an event which is fixed is the one that it should have been."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from producers.collect import keys
from producers.collect.batch import read
from producers.collect.intake import INTERACTION, Intake
from producers.persons.letters import Letter
from producers.redrive.event import Anybody, Origin, made
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.binary import EPOCH, MILLISECOND
from schemas.catalogue import event as contract
from tests.producers.connect.kept import Kept
from tests.producers.sealed import unsealed

NOON = 1_795_780_800_000
MINUTE = 60_000
KEY = keys.Key(name="bikes", key="k", origins=frozenset())
GOOD = {"id": "e1", "at": NOON, "interaction": "page_view", "page": "/p"}


class World:
    """A collector whose log and clock are the test's."""

    def __init__(self, folder: Path, log: Kept, intake: Intake, now: Callable[[int], None]) -> None:
        self.folder = folder
        self.log = log
        self._intake = intake
        self._now = now

    def sends(self, *events: dict[str, Any], at: int, sent_at: int) -> None:
        """One visitor's batch, which came at a time here, and was sent at one by the visitor's clock."""
        self._now(at)
        self._intake.take(KEY, ("v1",), read(json.dumps({"sent_at": sent_at, "events": events}).encode()))

    @property
    def letters(self) -> list[Letter]:
        return [unsealed(self.folder, each) for each in self.log.messages(contract("ops.dead_letter").topic)]

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.log.records(INTERACTION.topic)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    now = [NOON]
    log, options = Kept(lambda: now[0] / 1000), Options(state=tmp_path)
    this = Run(source=source("collect"), options=options, publisher=log, stop=Stop(), log=structlog.get_logger())
    with closing(Intake(this, keys.opened(tmp_path), lambda: now[0])) as intake:
        yield World(tmp_path, log, intake, lambda at: now.__setitem__(0, at))


def fixed(letter: Letter, **more: Any) -> dict[str, Any]:
    """The event that a letter becomes."""
    said = json.loads(letter.original)
    origin = Origin(offset=1, dead_at=EPOCH + NOON * MILLISECOND, headers={"source": "bikes", **letter.headers})
    return made(INTERACTION, {**said, **more}, origin, Anybody())


@pytest.mark.parametrize("minutes", [1, 30, 600])
def test_of_a_batch_that_was_refused_whole_an_event_is_the_same_redriven_and_sent_again(
    world: World, minutes: int
) -> None:
    behind, sent = 3 * 60 * MINUTE, NOON - 3 * 60 * MINUTE
    world.sends({**GOOD, "at": sent, "page": 7}, at=NOON + 40, sent_at=sent)
    later = minutes * MINUTE
    world.sends({**GOOD, "at": sent}, at=NOON + later + 9_000, sent_at=NOON + later - behind)
    (letter,), (again,) = world.letters, world.events
    redriven = fixed(letter, page="/p")
    assert (redriven["event_id"], redriven["occurred_at"]) == (again["event_id"], again["occurred_at"])


def test_a_skew_without_an_event_begins_no_visit(world: World) -> None:
    world.sends({**GOOD, "page": 7}, at=NOON, sent_at=NOON)
    world.sends({**GOOD, "at": NOON + MINUTE, "id": "e2"}, at=NOON + MINUTE, sent_at=NOON + MINUTE)
    world.sends({**GOOD, "at": NOON + 2 * MINUTE, "id": "e3"}, at=NOON + 2 * MINUTE, sent_at=NOON + 2 * MINUTE)
    first, second = world.events
    assert first["session_started_at"] == first["occurred_at"] == second["session_started_at"]
    assert first["session_id"] == second["session_id"]


def test_an_event_that_is_refused_for_its_value_joins_its_own_visit_and_not_the_last_of_its_batch(world: World) -> None:
    nul = {**GOOD, "id": "e2", "page": "/\0", "at": NOON + 1}
    later = {**GOOD, "id": "e3", "at": NOON + 60 * MINUTE}
    world.sends(GOOD, nul, later, at=NOON + 60 * MINUTE, sent_at=NOON + 60 * MINUTE)
    first, last = world.events
    redriven = fixed(world.letters[0], page="/")
    assert first["session_id"] != last["session_id"]
    assert (redriven["session_id"], redriven["session_started_at"]) == (first["session_id"], first["occurred_at"])
