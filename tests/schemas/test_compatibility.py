"""A contract can't change in a way that breaks anybody, and the error names the field and both versions."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import catalogue
from schemas.catalogue import Event, parse_event
from schemas.compatibility import check_against
from schemas.errors import IncompatibleSchema
from tests.schemas.thing_happened import THING_HAPPENED, line_fields, of, the_field

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> Event:
    contract = copy.deepcopy(THING_HAPPENED)
    change(contract)
    return parse_event(json.dumps(contract), "a test")


def added(**field: Any) -> Change:
    return lambda contract: contract["fields"].append(field)


def removed(name: str) -> Change:
    return lambda contract: contract["fields"].remove(the_field(contract, name))


def typed(name: str, avro: Any, **more: Any) -> Change:
    return lambda contract: the_field(contract, name).update(type=avro, **more)


RELEASED = of(THING_HAPPENED).schema_text
OLD_READS_NEW = "version 1 (reader) cannot read what this version (writer) wrote"
NEW_READS_OLD = "this version (reader) cannot read what version 1 (writer) wrote"


@pytest.mark.parametrize(
    ("change", "field", "who"),
    [
        pytest.param(removed("amount"), "amount", OLD_READS_NEW, id="a field is removed"),
        pytest.param(typed("amount", "string"), "amount", NEW_READS_OLD, id="a number becomes text"),
        pytest.param(typed("amount", "long"), "amount", OLD_READS_NEW, id="an int becomes a long"),
        pytest.param(typed("note", "string", default=""), "note", NEW_READS_OLD, id="null is no longer taken"),
        pytest.param(typed("amount", ["null", "int"], default=None), "amount", OLD_READS_NEW, id="null is now taken"),
        pytest.param(
            lambda c: the_field(c, "amount").update(name="sum"), "sum", NEW_READS_OLD, id="a field is renamed"
        ),
        pytest.param(added(name="gift", type="int"), "gift", NEW_READS_OLD, id="a field without default is added"),
        pytest.param(
            lambda c: line_fields(c)[0].update(type="string"),
            "lines.quantity",
            NEW_READS_OLD,
            id="a line's field changes",
        ),
        pytest.param(lambda c: line_fields(c).pop(0), "lines.quantity", OLD_READS_NEW, id="a line's field is removed"),
        pytest.param(
            lambda c: line_fields(c).append({"name": "gift", "type": "int"}),
            "lines.gift",
            NEW_READS_OLD,
            id="a field without default is added to the lines",
        ),
    ],
)
def test_a_change_that_breaks_a_reader_names_both_versions_and_the_field(change: Change, field: str, who: str) -> None:
    with pytest.raises(IncompatibleSchema) as caught:
        check_against(changed(change), {"version 1": RELEASED})
    assert f"tests.thing_happened: {who}: field {field}: " in str(caught.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(added(name="gift", type="int", default=0), "gift", id="at the top"),
        pytest.param(
            added(name="gift", type=["int", "null"], default=0), "gift", id="nullable but not null by default"
        ),
        pytest.param(
            lambda c: line_fields(c).append({"name": "gift", "type": "int", "default": 0}),
            "lines.gift",
            id="in the lines",
        ),
    ],
)
def test_an_added_field_that_is_not_null_by_default_is_refused(change: Change, field: str) -> None:
    with pytest.raises(IncompatibleSchema, match=f"field {field} is not in version 1, and an added field must be"):
        check_against(changed(change), {"version 1": RELEASED})


def test_a_nullable_field_can_not_be_removed_either() -> None:
    with pytest.raises(IncompatibleSchema, match="field note is in version 1 but has been removed"):
        check_against(changed(removed("note")), {"version 1": RELEASED})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda contract: None, id="nothing"),
        pytest.param(added(name="gift", type=["null", "int"], default=None), id="a nullable field is added"),
        pytest.param(
            lambda c: line_fields(c).append({"name": "gift", "type": ["null", "string"], "default": None}),
            id="a nullable field is added to the lines",
        ),
        pytest.param(lambda c: the_field(c, "kind")["type"]["symbols"].append("third"), id="an enum gains a symbol"),
        pytest.param(lambda c: the_field(c, "amount").update(doc="Other words."), id="a field has a new description"),
        pytest.param(lambda c: c.update(retention_days=99, max_bytes=99), id="the topic is kept longer"),
    ],
)
def test_a_change_that_breaks_nobody_passes(change: Change) -> None:
    check_against(changed(change), {"version 1": RELEASED})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            typed("price", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}),
            r"field price is decimal\(12, 3\) in this version and decimal\(12, 2\) in version 1",
            id="a decimal gets another scale",
        ),
        pytest.param(
            typed("occurred_at", {"type": "long", "logicalType": "timestamp-micros"}),
            "field occurred_at is timestamp-micros in this version and timestamp-millis in version 1",
            id="a time is counted in micros",
        ),
        pytest.param(
            typed("amount", {"type": "int", "logicalType": "date"}),
            "field amount is date in this version and plain in version 1",
            id="a number becomes a date",
        ),
    ],
)
def test_the_same_bytes_must_go_on_meaning_the_same(change: Change, said: str) -> None:
    with pytest.raises(IncompatibleSchema, match=said):
        check_against(changed(change), {"version 1": RELEASED})


def test_a_contract_is_judged_against_every_version_and_not_just_the_newest() -> None:
    """Each step is fine by itself: the field is added, then given to another type."""
    one = RELEASED
    without = changed(lambda c: c["fields"].remove(the_field(c, "amount"))).schema_text
    again = changed(typed("amount", ["null", "string"], default=None))
    check_against(again, {"version 2": without})
    with pytest.raises(IncompatibleSchema, match=r"version 1 .*field amount"):
        check_against(again, {"version 1": one, "version 2": without})


@pytest.mark.parametrize("event", [pytest.param(e, id=e.name) for e in catalogue.events()])
def test_every_contract_is_compatible_with_itself(event: Event) -> None:
    check_against(event, {"itself": event.schema_text})


# Against releases in git ----------------------------------------------------------------------------------------------


class Clone:
    """A repository with nothing in it but the contracts and the code that checks them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(catalogue.HERE, folder / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=a test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)

    def commit(self, tag: str | None = None) -> None:
        self.git("add", "--all")
        self.git("commit", "--allow-empty", "--message", "a change")
        if tag:
            self.git("tag", tag)

    def change(self, name: str, change: Change) -> None:
        path = self.folder / "schemas" / f"{name}.avsc"
        contract = json.loads(path.read_text())
        change(contract)
        path.write_text(json.dumps(contract))

    def check(self, ref: str | None = None) -> list[str]:
        """The result of the check in this clone: the lines, or the error after its class."""
        code = (
            "from schemas.compatibility import check_released\nfrom schemas.errors import InsightsError\n"
            f"try: print(*check_released({ref!r}), sep='\\n')\n"
            "except InsightsError as error: print(type(error).__name__, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        return done.stdout.splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def test_every_contract_is_checked_against_every_release(clone: Clone) -> None:
    clone.commit("v0.1.0")
    clone.commit("v0.2.0")
    clone.commit("unrelated")
    lines = clone.check()
    assert sorted(lines) == sorted(
        f"{e.name}: compatible with {tag}" for e in catalogue.events() for tag in ("v0.1.0", "v0.2.0")
    )


def test_a_break_with_an_old_release_is_found_after_a_newer_one(clone: Clone) -> None:
    clone.commit("v0.1.0")
    clone.change("sales.order_placed", removed("shipping_amount"))
    clone.commit("v0.2.0")
    (line,) = clone.check()
    assert line.startswith("IncompatibleSchema sales.order_placed: the release v0.1.0 (reader) cannot read")
    assert "field shipping_amount" in line


def test_without_a_release_the_last_commit_is_what_counts(clone: Clone) -> None:
    clone.commit()
    clone.change("sales.order_placed", typed("region", "int"))
    (line,) = clone.check()
    assert "field region" in line
    assert "the release HEAD" in line


def test_a_commit_may_be_named_to_check_against(clone: Clone) -> None:
    clone.commit("v0.1.0")
    clone.change("web.interaction", added(name="device", type=["null", "string"], default=None))
    clone.commit()
    assert len(clone.check("HEAD")) == len(catalogue.events())
    clone.change("web.interaction", removed("device"))
    (line,) = clone.check("HEAD")
    assert "field device is in the release HEAD but has been removed" in line


def test_a_released_contract_can_not_go(clone: Clone) -> None:
    clone.commit("v0.1.0")
    (clone.folder / "schemas" / "public.wiki_edited.avsc").unlink()
    (line,) = clone.check()
    assert line.startswith("IncompatibleSchema public.wiki_edited: released in v0.1.0 but has been removed")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [("key", "order_id", "'customer_id'"), ("partitions", 9, "4")],
)
def test_key_and_partitions_of_a_release_never_change(clone: Clone, attribute: str, value: object, said: str) -> None:
    clone.commit("v0.1.0")
    clone.change("sales.order_placed", lambda contract: contract.update({attribute: value}))
    (line,) = clone.check()
    assert line.startswith(f"IncompatibleSchema sales.order_placed: {attribute} was {said} in v0.1.0 and is {value!r}")


def test_a_folder_without_history_is_reported(clone: Clone) -> None:
    (line,) = clone.check()
    assert line.startswith("Misconfigured git tag --list")
    assert "run this in a clone with full history" in line
