"""Metrics as Prometheus reads them: OpenMetrics, or its older text format for who asks for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from trunkline.admin.figures import Buckets, Family, Labels, Sample

Of = tuple[Labels, Iterable[Family]]
"""The metrics of one process, and the labels that tell it from the others."""

_KINDS: dict[str, Callable[[str, str], Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
    "gaugehistogram": GaugeHistogramMetricFamily,
}


def expose(processes: Iterable[Of], accept: str) -> tuple[bytes, str]:
    """Return metrics as a text, and its media type.

    Args:
        accept: The request's `Accept`: it may name OpenMetrics.
    """
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is none
        encode, media_type = choose_encoder("")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(processes))
    return encode(registry), media_type


class _Collected(Collector):
    """Families of several processes, each of them once."""

    def __init__(self, processes: Iterable[Of]) -> None:
        self._processes = processes

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for labels, families in self._processes:
            for family in families:
                metric = found.get(family.name)
                if metric is None:
                    metric = found[family.name] = _KINDS[family.kind](family.name, family.help)
                for sample in family.samples:
                    _add(metric, family, sample, labels)
        yield from found.values()


def _add(metric: Metric, family: Family, sample: Sample, more: Labels) -> None:
    labels = dict((*sample.labels, *more))
    if not isinstance(sample.value, Buckets):
        suffix = "_total" if family.kind == "counter" else ""
        metric.add_sample(family.name + suffix, labels, float(sample.value))
        return
    prefix = "_g" if family.kind == "gaugehistogram" else "_"
    bounds = [*map(floatToGoString, sample.value.bounds), "+Inf"]
    counts = list(accumulate(sample.value.counts))
    for bound, count in zip(bounds, counts, strict=True):
        metric.add_sample(f"{family.name}_bucket", labels | {"le": bound}, float(count))
    metric.add_sample(f"{family.name}{prefix}count", labels, float(counts[-1]))
    metric.add_sample(f"{family.name}{prefix}sum", labels, sample.value.total)
