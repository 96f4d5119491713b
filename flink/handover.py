"""From one version of an aggregate to the next while events come in. Readers see no gap.

The first version of an aggregate that no live job computes yet comes the same way: readers see no row of it before the
swap, and ``hide`` is the way back.

In this order; each step may be done again after a kill, and each leaves what readers see as it was, but the swap:

1. ``prepare_version``  makes the new version's table
2. ``line``             from here on windows are the new job's; what is before it is final, and a replay's
3. ``start_version``    a second live job writes the new version's windows from the line on
4.                      the replay writes those before it
5. ``caught_up``        the second job has read what the main job had read
6. ``swap``             readers see the new version; ``swap`` to the old one is the way back, as long as
7. ``retire``           has not made the main job stop writing that
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from aggregates.catalogue import Aggregate
from aggregates.windows import floored
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
    second_name,
    snapshots_of,
    with_retired,
    written,
)
from flink.rest import FlinkRest
from flink.source_sql import first_published
from schemas.binary import EPOCH
from schemas.catalogue import event
from schemas.errors import BrokerUnavailable, InsightsError, Misconfigured
from schemas.plural import counted
from warehouse.deployment import Deployment
from warehouse.postgres import connected
from warehouse.tables import make_version
from warehouse.versions import hide, note_deployed, seen_version, swap

__all__ = [
    "NotReady",
    "caught_up",
    "drop_version",
    "hide",
    "is_new",
    "line",
    "prepare_version",
    "retire",
    "start_version",
    "swap",
    "written_versions",
]

KAFKA_SECONDS = 10.0
Offsets = Mapping[tuple[str, int], int]


class NotReady(InsightsError):
    """A step of a hand-over came too early; the message names what it waits for."""


def prepare_version(deployment: Deployment, aggregate: Aggregate) -> None:
    """Makes the table of this version, which has no readers yet. Raises Misconfigured when another is in its place."""
    deployed = {a.version: a for job in kept_jobs(deployment) for a in job.aggregates if a.name == aggregate.name}
    known = deployed.get(aggregate.version)
    if known and known.fingerprint != aggregate.fingerprint:
        raise Misconfigured(
            f"version {aggregate.version} of {aggregate.name} is live with another definition than"
            f" {aggregate.folder} has: give the changed one version {max(deployed) + 1} in its aggregate.toml"
        )
    with connected(deployment) as connection:
        make_version(connection, aggregate)


def line(deployment: Deployment, aggregate: Aggregate) -> datetime:
    """The last window's edge (UTC) before which all is final. Raises NotReady when nothing is."""
    known = known_final_until(deployment, aggregate)
    if known is None:
        read = {name for a in written(deployment) for name in a.inputs}
        if unread := [event(name).topic for name in aggregate.inputs if name not in read]:
            raise NotReady(
                f"no live aggregate reads {', '.join(unread)}, so it is not known which windows of {aggregate.name} are"
                " final. `insights flink submit --from-beginning` adds it: that rebuilds all tables from the log"
            )
        raise NotReady(
            f"no window of {aggregate.name} is final yet: that is known when its topics have been read for a horizon"
            f" ({deployment.horizon_hours} h). `insights status` shows it under `final until`"
        )
    return _edge(aggregate, known)


def _edge(aggregate: Aggregate, at: datetime) -> datetime:
    """The start of the window that a time is in."""
    return floored(at, aggregate.window or "minute", aggregate.zone)


def start_version(deployment: Deployment, aggregate: Aggregate, from_line: datetime) -> str:
    """Starts the job that writes this version's windows from ``from_line`` on; its id. Blocks until it runs.

    Does nothing but answer when it runs. It is kept running like the main job from then on. Raises NotReady when the
    windows before the line are not final, LogIncomplete when the log has lost what it must read, Misconfigured when
    the line cuts a window or this version is live from another line, JobFailed with Flink's reason.
    """
    if aggregate.window and from_line != _edge(aggregate, from_line):
        raise Misconfigured(
            f"{from_line.isoformat()} cuts a {aggregate.window} of {aggregate.name}: name an edge of one"
        )
    job = handed_over(aggregate, from_line)
    with one_at_a_time(deployment), asked_for(deployment):
        _refuse_other(deployment, job)
        if newest_snapshot(deployment, job.name) is None:
            if from_line > line(deployment, aggregate):
                raise NotReady(f"windows of {aggregate.name} before {from_line.isoformat()} are not all final")
            _refuse_lost_log(deployment, job)
            if FlinkRest(deployment.flink_url).active_job(job.name) is None:
                _forget_group(deployment, job.name)
        with connected(deployment) as connection:
            note_deployed(connection, aggregate)
        keep(deployment, kept(deployment, job.name) or job)  # its state may be of events with fewer fields
        submit_deployed(deployment)
        running = FlinkRest(deployment.flink_url).active_job(job.name)
    if running is None:
        raise NotReady(f"{job.name} ended right after it started; `insights logs taskmanager` says why")
    return running


def _refuse_other(deployment: Deployment, job: LiveJob) -> None:
    (aggregate,) = job.aggregates
    for known in kept_jobs(deployment):
        if known.name == job.name and replace(known, fields=job.fields) != job:
            raise Misconfigured(
                f"{job.name} is already live, from {known.from_line} and not {job.from_line}, or with another"
                " definition; retire it first"
            )
        if known.from_line is None and known.writes(aggregate.name, aggregate.version):
            raise Misconfigured(
                f"version {aggregate.version} of {aggregate.name} is what {known.name} writes: only a new version is"
                " handed over to"
            )


def caught_up(deployment: Deployment, aggregate: Aggregate) -> tuple[bool, str]:
    """Whether this version's job has written all that the main job had read when asked, and a line on how far it is.

    Blocks for three checkpoints at most: both jobs report their progress when a checkpoint is complete, and by then
    what they read is in their tables. Ask right before a swap.
    """
    name = second_name(aggregate.name, aggregate.version)
    goal = _judged(deployment, aggregate)
    deadline = time.monotonic() + 3 * deployment.checkpoint_interval_seconds + 5
    while True:
        reached = _committed(deployment, name, aggregate)
        behind = sum(max(0, offset - reached.get(place, 0)) for place, offset in goal.items())
        if not behind and FlinkRest(deployment.flink_url).active_job(name):
            return True, f"{name} has written what the main job had read"
        if time.monotonic() > deadline:
            return (
                False,
                f"{name} is {counted(behind, 'record')} behind the main job" if behind else f"{name} is down",
            )
        time.sleep(0.2)


def _judged(deployment: Deployment, aggregate: Aggregate) -> Offsets:
    """Offsets up to which the jobs that judge its events have read them."""
    deployed = kept_jobs(deployment)
    judges = {event(name).topic: judge_of(deployed, name) for name in aggregate.inputs}
    found = {job: _committed(deployment, job, aggregate) for job in set(judges.values())}
    return {
        place: offset for job, offsets in found.items() for place, offset in offsets.items() if judges[place[0]] == job
    }


def written_versions(deployment: Deployment, aggregate: Aggregate) -> set[int]:
    """Versions that a live job writes: those that readers may be given, forth and back."""
    jobs = kept_jobs(deployment)
    return {a.version for job in jobs for a in job.aggregates if a.name == aggregate.name and job.writes(*_of(a))}


def _of(aggregate: Aggregate) -> tuple[str, int]:
    return aggregate.name, aggregate.version


def retire(deployment: Deployment, aggregate: Aggregate, version: int) -> None:
    """Stops writing this version. Blocks, some seconds if a job wrote it among others: that job is restarted.

    Raises Misconfigured when readers see it.
    """
    with connected(deployment) as connection:
        if seen_version(connection, aggregate.name) == version:
            raise Misconfigured(f"version {version} of {aggregate.name} is what readers see: swap to another first")
    with one_at_a_time(deployment), asked_for(deployment):
        second = second_name(aggregate.name, version)
        if kept(deployment, second):
            forget(deployment, second)
            cancel(deployment, second)
            shutil.rmtree(snapshots_of(deployment, second), ignore_errors=True)
        for job in kept_jobs(deployment):
            if any((a.name, a.version) == (aggregate.name, version) for a in job.aggregates):
                _no_longer_write(deployment, with_retired(job, aggregate.name))


def retire_from_main(deployment: Deployment, names: Iterable[str]) -> None:
    """The main job stops writing what readers see other versions of. Blocks, for its one restart."""
    with connected(deployment) as connection, one_at_a_time(deployment), asked_for(deployment):
        main = kept(deployment)
        written = {a.name: a.version for a in main.aggregates} if main else {}
        for name in names:
            if main and name in written and seen_version(connection, name) != written[name]:
                main = with_retired(main, name)
        if main and main.retired:
            _no_longer_write(deployment, main)


def _no_longer_write(deployment: Deployment, job: LiveJob) -> None:
    """The same job, with nothing behind what it wrote: its state goes by the shape of its plan."""
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
            raise Misconfigured(f"version {version} of {aggregate.name} is what readers see: swap to another first")
        connection.execute(f"drop table if exists versions.{aggregate.name}_v{version}")
        connection.execute("delete from ops.versions where aggregate = %s and version = %s", (aggregate.name, version))
        if is_new(deployment, aggregate.name):  # nobody goes on saying how far it is final
            connection.execute("delete from ops.finality where aggregate = %s", (aggregate.name,))


# Kafka ----------------------------------------------------------------------------------------------------------------


def _places(aggregate: Aggregate) -> list[TopicPartition]:
    topics = [event(name) for name in aggregate.inputs]
    return [TopicPartition(e.topic, number) for e in topics for number in range(e.partitions)]


def _committed(deployment: Deployment, group: str, aggregate: Aggregate) -> Offsets:
    """Offsets that the group committed, of the aggregate's partitions that it did any for. Raises BrokerUnavailable."""
    admin = AdminClient({**deployment.kafka.librdkafka, "log_level": 0})
    asked = ConsumerGroupTopicPartitions(group, _places(aggregate))
    try:
        answer = admin.list_consumer_group_offsets([asked], request_timeout=KAFKA_SECONDS)[group].result()
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Kafka at {deployment.kafka} did not return the offsets of {group}: {error}"
        ) from error
    return {(p.topic, p.partition): p.offset for p in answer.topic_partitions or () if p.offset >= 0}


def _forget_group(deployment: Deployment, group: str) -> None:
    """An earlier try of this version may have left how far it was."""
    admin = AdminClient({**deployment.kafka.librdkafka, "log_level": 0})
    try:
        admin.delete_consumer_groups([group], request_timeout=KAFKA_SECONDS)[group].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise BrokerUnavailable(f"Kafka at {deployment.kafka} did not delete {group}: {error}") from error


def _refuse_lost_log(deployment: Deployment, job: LiveJob) -> None:
    """Raises LogIncomplete when retention has removed records that the job would have to read."""
    (aggregate,) = job.aggregates
    line_at = job.from_line or EPOCH
    since = first_published(job) or line_at - timedelta(days=1)
    for place in _places(aggregate):
        at = _first_published_at(deployment, place)
        if at is not None and at > since:
            raise LogIncomplete(
                f"the log of {place.topic}, partition {place.partition}, begins at {at.isoformat()}: {job.name} would"
                f" lack what was published between {since.isoformat()} and then. Nothing was changed"
            )


def _first_published_at(deployment: Deployment, place: TopicPartition) -> datetime | None:
    """When the first record that is left was published; None when none was removed, or none is left."""
    settings = {**deployment.kafka.librdkafka, "group.id": f"{JOB_NAME}-beginnings", "log_level": 0}
    consumer = Consumer({**settings, "enable.auto.commit": False})
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
