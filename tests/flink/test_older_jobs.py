"""A live job that an older release deployed goes on as it was; what a later release brings comes beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aggregates.catalogue import Aggregate, Column, aggregate, aggregates
from flink import live_job
from flink.job_sql import JobPlan
from flink.live_job import LiveJob
from schemas.binary import EPOCH
from schemas.catalogue import events
from schemas.errors import Misconfigured
from tests.flink.live_on_files import DEPLOYMENT, created, plan

RATES = "finance.rate_published"
GAINED = "charged_rate_on"
ORDERS = aggregate("orders")


def older_job() -> LiveJob:
    """The main job of a release that knew no rates, and no charges of orders."""
    now = live_job.main_job()
    fields = {
        name: tuple(field for field in carried if not field.startswith("charged_"))
        for name, carried in now.fields.items()
    }
    return replace(
        now,
        aggregates=tuple(a for a in now.aggregates if RATES not in a.inputs and a.name not in ("orders", "refunds")),
        events=tuple(name for name in now.events if name != RATES),
        fields={name: carried for name, carried in fields.items() if name != RATES},
    )


def statement(of: JobPlan, name: str) -> str:
    return next(s for s in of.statements if created(s) == name)


def test_what_a_contract_gained_is_archived_and_is_in_nothing_that_an_older_job_keeps() -> None:
    """Its state holds whole events: with a field more it would fit no longer."""
    found = plan(job=older_job())
    assert f"`{GAINED}`" in statement(found, "arrived_order_placed")
    assert any("`lake`" in i and f"`{GAINED}`" in i and "`arrived_order_placed`" in i for i in found.inserts)
    for name in ("numbered_order_placed", "once_order_placed", "order_placed", "order_placed_lines"):
        assert GAINED not in statement(found, name), name
        assert GAINED in statement(plan(), name), name


def test_an_older_job_does_not_read_the_topics_of_later_events() -> None:
    found = plan(job=older_job())
    assert "_rate_published`" not in "\n".join([*found.statements, *found.inserts])
    assert "_rate_published`" in "\n".join([*plan().statements, *plan().inserts])


def test_later_events_have_a_job_of_their_own_with_what_is_computed_of_them_alone() -> None:
    older = older_job()
    added = live_job.job_of_added([older])
    assert added is not None
    assert (added.name, added.events, added.is_hand_over) == ("insights-live-rate_published", (RATES,), False)
    assert [a.name for a in added.aggregates] == ["exchange_rates"]
    assert not added.is_main
    assert live_job.job_of_added([older, added]) is None
    assert live_job.job_of_added([live_job.main_job()]) is None


def test_the_job_of_later_events_reads_judges_and_archives_those_alone() -> None:
    added = live_job.job_of_added([older_job()])
    assert added is not None
    found = plan(job=added)
    (source,) = [s for s in found.statements if "'event-log'" in s]
    assert "'topic' = 'finance.rate_published.v1'" in source
    assert "'properties.group.id' = 'insights-live-rate_published'" in source
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    assert [i.split("\n")[0] for i in found.inserts] == [
        "insert into `versions.exchange_rates_v1`",
        "insert into `ops.event_counts`",
        "insert into `ops.late_events`",
        "insert into `ops.dead_records`",
        "insert into `lake`.`events`.`rate_published`",
    ]
    assert found.settings["execution.checkpointing.dir"].endswith("/jobs/insights-live-rate_published/checkpoints")


def test_an_event_is_judged_by_the_job_that_has_it() -> None:
    older = older_job()
    added = live_job.job_of_added([older])
    assert added is not None
    second = live_job.handed_over([replace(aggregate("exchange_rates"), version=2)], {"exchange_rates": EPOCH})
    jobs = [older, added, second]
    assert live_job.judge_of(jobs, RATES) == added.name
    assert live_job.judge_of(jobs, "sales.order_placed") == live_job.JOB_NAME


def test_a_job_whose_release_noted_no_events_has_those_that_the_lake_had(tmp_path: Path) -> None:
    deployment = replace(DEPLOYMENT, jobs_dir=tmp_path / "jobs")
    older = older_job()
    second = live_job.handed_over([replace(aggregate("sales_per_minute"), version=2)], {"sales_per_minute": EPOCH})
    for job in (older, second):
        live_job.keep(deployment, replace(job, events=(), fields={}))
    there = {name: {*carried, "kafka_offset"} for name, carried in older.fields.items()}
    for _ in range(2):
        live_job.note_events(deployment, there)
        assert live_job.kept(deployment) == older
    noted = live_job.kept(deployment, second.name)
    assert noted is not None
    assert (noted.events, noted.fields) == ((), older.fields)
    more = {**there, RATES: {"event_id"}}
    live_job.note_events(deployment, more)
    assert live_job.kept(deployment) == older, "what is noted stays"


def test_a_new_stacks_main_job_has_every_event_with_all_its_fields() -> None:
    job = live_job.main_job()
    assert job.events == tuple(e.name for e in events())
    assert all(job.fields[e.name] == live_job.carried(e) for e in events())


def test_a_version_only_gained_columns_when_its_rows_and_other_columns_are_the_same() -> None:
    more = Column(type="charge", doc="More.", nullable=True)
    assert live_job.gained_only(ORDERS, with_columns(more=more))
    assert live_job.gained_only(ORDERS, replace(ORDERS, query="select 1"))
    assert not live_job.gained_only(with_columns(more=more), ORDERS), "one is gone"
    assert not live_job.gained_only(ORDERS, with_columns(more=more.model_copy(update={"nullable": False})))
    assert not live_job.gained_only(ORDERS, with_columns(region=Column(type="int", doc="Another type.")))
    assert not live_job.gained_only(ORDERS, with_columns(region=Column(type="string", doc="", nullable=True)))
    assert not live_job.gained_only(ORDERS, replace(ORDERS, key=("order_id",)))
    assert not live_job.gained_only(ORDERS, replace(ORDERS, inputs=("sales.order_refunded",)))


def with_columns(**changed: Column) -> Aggregate:
    return replace(ORDERS, columns={**ORDERS.columns, **changed})


def test_a_folder_is_changed_in_place_when_its_version_is_live_with_other_columns() -> None:
    more = with_columns(more=Column(type="charge", doc="More.", nullable=True))
    jobs = [live_job.main_job()]
    assert live_job.changed_in_place(jobs, aggregates()) == []
    assert live_job.changed_in_place(jobs, [more]) == [more]
    assert live_job.changed_in_place(jobs, [replace(more, version=ORDERS.version + 1)]) == []
    assert live_job.changed_in_place(jobs, [replace(ORDERS, query="select 1")]) == [], "no table is another one"
    assert live_job.changed_in_place([], [more]) == []


def test_a_field_that_lines_gained_is_refused_with_the_way_out() -> None:
    """A record's type is part of the state, and no column can be left out of it."""
    live_job.refuse_gained_within([live_job.main_job(), older_job()])
    older = older_job()
    fewer = tuple(name for name in older.fields["sales.order_placed"] if name != "lines.discount_amount")
    job = replace(older, fields={**older.fields, "sales.order_placed": fewer})
    with pytest.raises(Misconfigured, match=r"sales.order_placed has lines.discount_amount now") as refused:
        live_job.refuse_gained_within([job])
    assert "insights flink submit --from-beginning" in str(refused.value)
    without_lines = tuple(name for name in older.fields["sales.order_placed"] if not name.startswith("lines"))
    job = replace(older, fields={**older.fields, "sales.order_placed": without_lines})
    live_job.refuse_gained_within([job])
