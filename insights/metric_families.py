"""Families of metrics, for those who make them when they are asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Sample = tuple[tuple[str, ...], float | int | bool | datetime | None]
"""Values of the labels, and the value; None where it is not known."""


def gauge(name: str, doc: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """A gauge with a sample for each value that is known."""
    return _filled(GaugeMetricFamily(name, doc, labels=labels), samples)


def counter(name: str, doc: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """The same, of what only grows."""
    return _filled(CounterMetricFamily(name, doc, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[Sample]) -> Metric:
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value.timestamp() if isinstance(value, datetime) else float(value))
    return family
