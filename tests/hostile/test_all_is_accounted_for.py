"""Whatever strangers send ends as an event, a dead letter or an answer that says why, and no part falls over."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.hostile.parts import PARTS, Part
from tests.hostile.spoiling import spoiled

IN_ALL = 100_000


def outcomes(part: Part, inputs: int, folder: Path) -> Counter[str]:
    """What became of so many inputs. A failure names the seed of the one that it is about."""
    account, whole, found = part.made(folder), part.whole(), Counter[str]()
    for seed in range(inputs):
        value = spoiled(Random(f"{part.name}:{seed}"), whole)
        try:
            found[account(value)] += 1
        except Exception as error:
            raise AssertionError(f"{part.name}, input {seed}: {value[:200]!r}") from error
    return found


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_of_some_hostile_inputs_is_accounted_for(part: Part, tmp_path: Path) -> None:
    found = outcomes(part, 300, tmp_path / "state")
    assert found.total() == 300
    assert len(found) > 1, "all inputs end alike, which shows little"


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_each_of_100_000_hostile_inputs_is_accounted_for(tmp_path: Path) -> None:
    each = -(-IN_ALL // len(PARTS))
    total: Counter[str] = Counter()
    for part in PARTS:
        began = time.monotonic()
        found = outcomes(part, each, tmp_path / part.name.replace(" ", "-"))
        print(f"{part.name}: {found.total():,} in {time.monotonic() - began:.0f} s: {dict(found)}")
        total += found
    assert total.total() >= IN_ALL


def read_under_schemas(first: int, last: int) -> int:
    """How many records were read. A process that is killed by what it reads fails the test, and not the test's own."""
    command = [sys.executable, "-m", "tests.hostile.strange_schemas", str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode}; the last line is the schema's seed: {done.stderr[-3_000:]}"
    return int(done.stdout)


def test_no_schema_of_a_stranger_ends_or_keeps_busy_who_reads_it() -> None:
    assert read_under_schemas(0, 1_000) > 10


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_none_of_50_000_schemas_of_strangers_ends_or_keeps_busy_who_reads_it() -> None:
    assert read_under_schemas(1_000, 51_000) > 500
