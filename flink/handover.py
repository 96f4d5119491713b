"""From one version of an aggregate, or of several, to the next while events come in. Readers see no gap.

The first version of an aggregate that no live job computes yet comes the same way: readers see no row of it before the
swap, and ``hide`` is the way back.

In this order; each step may be done again after a kill, and each leaves what readers see as it was, but the swap:

1. ``prepare_version``  makes the new version's table
2. ``line``             from here on windows are the new job's; what is before it is final, and a replay's
3. ``start_versions``   a second live job writes the new versions' windows, of each from its line on
4.                      the replay writes those before it
5. ``caught_up``        the second job has read what the main job had read
6. ``swap``             readers see the new version; ``swap`` to the old one is the way back, as long as
7. ``retire``           has not made the job that wrote it stop
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from aggregates.catalogue import Aggregate, table_of
from aggregates.windows import floored
from flink.committed import KAFKA_SECONDS, Offsets, committed
from flink.final_windows import known_final_until
from flink.intended_downtime import asked_for
from flink.job_control import LogIncomplete, cancel, newest_snapshot, one_at_a_time, stop_one, submit_deployed
from flink.live_job import (
    JOB_NAME,
    LiveJob,
    forget,
    handed_over,
    is_new,
    judge_of,
    keep,
    kept,
    kept_jobs,
    second_job,
    snapshots_of,
    with_retired,
    written,
)
from flink.rest import FlinkRest
from flink.source_sql import first_published
from schemas.binary import EPOCH
from schemas.catalogue import event
from schemas.errors import BrokerUnavailable, InsightsError, Misconfigured
from schemas.kafka import logged_in
from schemas.plural import counted
from warehouse.deployment import Deployment
from warehouse.postgres import connected
from warehouse.tables import make_version
from warehouse.versions import hide, note_deployed, seen_version, seen_versions, swap

__all__ = [
    "NotReady",
    "caught_up",
    "drop_version",
    "hide",
    "is_new",
    "line",
    "prepare_version",
    "retire",
    "retire_unseen",
    "start_versions",
    "swap",
    "written_versions",
]


class NotReady(InsightsError):
    """A step of a hand-over came too early; the message names what it waits for."""


def prepare_version(deployment: Deployment, aggregate: Aggregate) -> None:
    """Makes the table of this version, which has no readers yet. Raises Misconfigured when another is in its place.

    And where Flink can't be asked: the steps after this one need it.
    """
    FlinkRest(deployment.flink_url)
    deployed = {a.version: a for job in kept_jobs(deployment) for a in job.aggregates if a.name == aggregate.name}
    known = deployed.get(aggregate.version)
    if known and known.fingerprint != aggregate.fingerprint:
        raise Misconfigured(
            f"version {aggregate.version} of {aggregate.name} is live with another definition than"
            f" {aggregate.folder} has: give the changed one version {max(deployed) + 1} in its aggregate.toml"
        )
    with connected(deployment) as connection:
        make_version(connection, aggregate)


def line(deployment: Deployment, aggregate: Aggregate) -> datetime | None:
    """The last window's edge (UTC) before which all is final; None when nothing is: then all windows are the new job's.

    Nothing is final where one of its topics has no event yet. Raises NotReady when no live job reads one of them.
    """
    read = {name for a in written(deployment) for name in a.inputs}
    if unread := [event(name).topic for name in aggregate.inputs if name not in read]:
        raise NotReady(
            f"no live aggregate reads {', '.join(unread)}, so it is not known which windows of {aggregate.name} are"
            " final. `insights flink submit --from-beginning` adds it: that rebuilds all tables from the log"
        )
    known = known_final_until(deployment, aggregate)
    return _edge(aggregate, known) if known else None


def _edge(aggregate: Aggregate, at: datetime) -> datetime:
    """The start of the window that a time is in."""
    return floored(at, aggregate.window or "minute", aggregate.zone)


def start_versions(deployment: Deployment, new: Sequence[Aggregate], lines: Mapping[str, datetime]) -> str:
    """Starts one job that writes these versions, windows of each from its line on; its id. Blocks until it runs.

    An aggregate without a line is computed from the log's beginning. Does nothing but answer when the job runs. It is
    kept running like the main job from then on. Raises NotReady when windows before a line are not final, LogIncomplete
    when the log has lost what it must read, Misconfigured when a line cuts a window or a version is live otherwise,
    JobFailed with Flink's reason.
    """
    for a in new:
        if a.name in lines and a.window and lines[a.name] != _edge(a, lines[a.name]):
            raise Misconfigured(
                f"{lines[a.name].isoformat()} is inside a {a.window} of {a.name}: name the start of one"
            )
    job = handed_over(new, lines)
    with one_at_a_time(deployment), asked_for(deployment):
        _refuse_other(deployment, job)
        if newest_snapshot(deployment, job.name) is None:
            _refuse_not_final(deployment, job)
            _refuse_lost_log(deployment, job)
            if FlinkRest(deployment.flink_url).active_job(job.name) is None:
                _forget_group(deployment, job.name)
        with connected(deployment) as connection:
            for a in job.aggregates:
                note_deployed(connection, a)
        keep(deployment, kept(deployment, job.name) or job)  # its state may be of events with fewer fields
        submit_deployed(deployment)
        running = FlinkRest(deployment.flink_url).active_job(job.name)
    if running is None:
        raise NotReady(f"{job.name} ended right after it started; `insights logs taskmanager` says why")
    return running


def _refuse_not_final(deployment: Deployment, job: LiveJob) -> None:
    for a in job.aggregates:
        final = line(deployment, a)
        if a.name in job.lines and (final is None or job.lines[a.name] > final):
            raise NotReady(f"windows of {a.name} before {job.lines[a.name].isoformat()} are not all final")


def _refuse_other(deployment: Deployment, job: LiveJob) -> None:
    for known in kept_jobs(deployment):
        if known.name == job.name:
            if replace(known, fields=job.fields) != job:
                raise Misconfigured(
                    f"{job.name} is already live, from other lines or with another definition; retire what it writes"
                    " first"
                )
            continue
        for a in job.aggregates:
            if known.writes(a.name, a.version):
                raise Misconfigured(
                    f"{known.name} already writes version {a.version} of {a.name}: only a version that no job writes"
                    " can be handed over to"
                )


def caught_up(deployment: Deployment, aggregate: Aggregate) -> tuple[bool, str]:
    """Whether the job that writes this version has written all that the main job had read when asked, and its state.

    Blocks for three checkpoints at most: both jobs report their progress when a checkpoint is complete, and by then
    what they read is in their tables. Ask right before a swap.
    """
    job = second_job(deployment, aggregate.name, aggregate.version)
    if job is None:
        return False, f"no second job writes version {aggregate.version} of {aggregate.name}"
    goal = _judged(deployment, job)
    deadline = time.monotonic() + 3 * deployment.checkpoint_interval_seconds + 5
    while True:
        reached = committed(deployment, job.name, job)
        behind = sum(max(0, offset - reached.get(place, 0)) for place, offset in goal.items())
        if not behind and FlinkRest(deployment.flink_url).active_job(job.name):
            return True, f"{job.name} has written what the main job had read"
        if time.monotonic() > deadline:
            says = f"is {counted(behind, 'record')} behind the main job" if behind else "is down"
            return False, f"{job.name} {says}"
        time.sleep(0.2)


def _judged(deployment: Deployment, job: LiveJob) -> Offsets:
    """Offsets up to which the jobs that judge its events have read them."""
    deployed = kept_jobs(deployment)
    judges = {event(name).topic: judge_of(deployed, name) for name in job.inputs}
    found = {judge: committed(deployment, judge, job) for judge in set(judges.values())}
    return {
        place: offset
        for judge, offsets in found.items()
        for place, offset in offsets.items()
        if judges[place[0]] == judge
    }


def written_versions(deployment: Deployment, aggregate: Aggregate) -> set[int]:
    """Versions that a live job writes: readers can be switched to these, and back."""
    jobs = kept_jobs(deployment)
    return {a.version for job in jobs for a in job.aggregates if a.name == aggregate.name and job.writes(*_of(a))}


def _of(aggregate: Aggregate) -> tuple[str, int]:
    return aggregate.name, aggregate.version


def retire(deployment: Deployment, aggregate: Aggregate, version: int) -> None:
    """Stops writing this version. Blocks, some seconds if a job that writes others too wrote it: that is restarted.

    Raises Misconfigured when readers see it.
    """
    with connected(deployment) as connection:
        if seen_version(connection, aggregate.name) == version:
            raise Misconfigured(f"readers see version {version} of {aggregate.name}: switch to another version first")
    with one_at_a_time(deployment), asked_for(deployment):
        for job in kept_jobs(deployment):
            if any((a.name, a.version) == (aggregate.name, version) for a in job.aggregates):
                _retire_from(deployment, with_retired(job, [aggregate.name]))


def retire_unseen(deployment: Deployment, names: Iterable[str]) -> list[Aggregate]:
    """No job writes any version of these any more but what readers see; what was written until now.

    Blocks: a job that writes others too is restarted, once.
    """
    found: list[Aggregate] = []
    with connected(deployment) as connection, one_at_a_time(deployment), asked_for(deployment):
        of, seen = set(names), seen_versions(connection)
        for job in kept_jobs(deployment):
            unseen = [a for a in job.aggregates if a.name in of and a.version != seen.get(a.name)]
            if unseen:
                _retire_from(deployment, with_retired(job, [a.name for a in unseen]))
            found += [a for a in unseen if job.writes(a.name, a.version)]
    return found


def _retire_from(deployment: Deployment, job: LiveJob) -> None:
    """The same job, with nothing behind what it wrote: its state goes by the shape of its plan.

    One of a hand-over that writes nothing any more ends.
    """
    if job.is_hand_over and len(job.retired) == len(job.aggregates):
        forget(deployment, job.name)
        cancel(deployment, job.name)
        shutil.rmtree(snapshots_of(deployment, job.name), ignore_errors=True)
        return
    keep(deployment, job)  # first, so that any submission from here on uses it
    running = FlinkRest(deployment.flink_url).active_job(job.name)
    if running and any(f"versions.{name}_v" in _sinks(deployment, running) for name in job.retired):
        stop_one(deployment, job.name, running)
        submit_deployed(deployment)


def _sinks(deployment: Deployment, job: str) -> str:
    return " ".join(vertex.name for vertex in FlinkRest(deployment.flink_url).vertices(job))


def drop_version(deployment: Deployment, aggregate: Aggregate, version: int) -> None:
    """Drops the table of a retired version. Raises Misconfigured when a live job writes it or readers see it."""
    if version in written_versions(deployment, aggregate):
        raise Misconfigured(f"version {version} of {aggregate.name} is still written: retire it first")
    with connected(deployment) as connection:
        if seen_version(connection, aggregate.name) == version:
            raise Misconfigured(f"readers see version {version} of {aggregate.name}: switch to another version first")
        connection.execute(f"drop table if exists {table_of(aggregate.name, version)}")
        connection.execute("delete from ops.versions where aggregate = %s and version = %s", (aggregate.name, version))
        if is_new(deployment, aggregate.name):  # nobody goes on saying how far it is final
            connection.execute("delete from ops.finality where aggregate = %s", (aggregate.name,))


# Kafka ----------------------------------------------------------------------------------------------------------------


def _forget_group(deployment: Deployment, group: str) -> None:
    """An earlier try of this version may have left how far it was."""
    admin = logged_in(AdminClient({**deployment.kafka.librdkafka, "log_level": 0}))
    try:
        admin.delete_consumer_groups([group], request_timeout=KAFKA_SECONDS)[group].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise BrokerUnavailable(f"Kafka at {deployment.kafka} did not delete {group}: {error}") from error


def _refuse_lost_log(deployment: Deployment, job: LiveJob) -> None:
    """Raises LogIncomplete when retention has removed records that the job would have to read."""
    for e in map(event, job.inputs):
        lines = job.lines_in(e.name).values()
        since = first_published(job, e) or (min(lines) - timedelta(days=1) if lines else EPOCH)
        for number in range(e.partitions):
            at = _first_published_at(deployment, TopicPartition(e.topic, number))
            if at is not None and at > since:
                raise LogIncomplete(
                    f"the log of {e.topic}, partition {number}, begins at {at.isoformat()}: {job.name} would lack what"
                    f" was published {f'between {since.isoformat()} and' if lines else 'before'} then. Nothing was"
                    " changed"
                )


def _first_published_at(deployment: Deployment, place: TopicPartition) -> datetime | None:
    """When the first record that is left was published; None when none was removed, or none is left."""
    settings = {**deployment.kafka.librdkafka, "group.id": f"{JOB_NAME}-beginnings", "log_level": 0}
    consumer = logged_in(Consumer({**settings, "enable.auto.commit": False}))
    try:
        low, high = consumer.get_watermark_offsets(place, timeout=KAFKA_SECONDS)
        if low == 0 or low == high:
            return None
        consumer.assign([TopicPartition(place.topic, place.partition, OFFSET_BEGINNING)])
        message = consumer.poll(KAFKA_SECONDS)
        if message is None or message.error():
            raise BrokerUnavailable(f"Kafka at {deployment.kafka} returned no record of {place.topic}")
        return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka at {deployment.kafka} returned no record of {place.topic}: {error}") from error
    finally:
        consumer.close()
