"""How far live jobs have committed: what is before that is in their tables, because a job commits with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from flink.live_job import LiveJob
from schemas.catalogue import event
from schemas.errors import BrokerUnavailable
from schemas.kafka import logged_in
from warehouse.deployment import Deployment

KAFKA_SECONDS = 10.0
Offsets = Mapping[tuple[str, int], int]
"""By topic and partition, the next offset."""


def committed(deployment: Deployment, group: str, job: LiveJob) -> Offsets:
    """Offsets that the group committed, of the job's partitions that it did any for. Raises BrokerUnavailable."""
    admin = logged_in(AdminClient({**deployment.kafka.librdkafka, "log_level": 0}))
    asked = ConsumerGroupTopicPartitions(group, _places(job))
    try:
        answer = admin.list_consumer_group_offsets([asked], request_timeout=KAFKA_SECONDS)[group].result()
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Kafka at {deployment.kafka} did not return the offsets of {group}: {error}"
        ) from error
    return {(p.topic, p.partition): p.offset for p in answer.topic_partitions or () if p.offset >= 0}


def _places(job: LiveJob) -> list[TopicPartition]:
    topics = [event(name) for name in job.inputs]
    return [TopicPartition(e.topic, number) for e in topics for number in range(e.partitions)]
