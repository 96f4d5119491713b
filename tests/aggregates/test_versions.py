"""A definition that changed since the last release is a new version: a stack of that release keeps the one before."""

from __future__ import annotations

from pathlib import Path

from aggregates.catalogue import aggregates, read_aggregate
from tests.last_release import unpack


def test_what_was_changed_since_the_last_release_has_a_higher_version(tmp_path: Path) -> None:
    released = unpack("aggregates", tmp_path)
    now = {a.name: a for a in aggregates()}
    for path in sorted(released.glob("*/aggregate.toml")):
        before = read_aggregate(path.parent)
        after = now[before.name]
        is_changed = after.fingerprint != before.fingerprint
        assert after.version >= before.version, before.name
        assert after.version > before.version or not is_changed, f"{before.name}: write version = {before.version + 1}"
