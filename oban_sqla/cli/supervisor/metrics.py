"""The metrics of several processes as those of one node. Needs prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

KIND = CONTENT_TYPE_LATEST
OF_DATABASE = "oban_queue_"
"""The beginning of the names of metrics about the database, which are the same in each process."""
SUMMED = ("counter", "histogram", "summary")
"""The types of metrics that are summed."""


def summed(texts: Mapping[int, bytes]) -> bytes:
    """The answer of ``/metrics`` for all processes.

    Counters, histograms and summaries are summed by their labels. Metrics about the database are those of one process.
    Any other gauge gets the label ``process``, because an alarm needs, for example, the memory of each process.

    :param texts: the answer of each process, by its index.
    """
    families: dict[str, Metric] = {}
    for index, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text.decode()):
            if family.name.startswith(OF_DATABASE):
                families.setdefault(family.name, family)
                continue
            mine = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            if family.type in SUMMED:
                _add(mine, family)
            else:
                mine.samples += [
                    sample._replace(labels={**sample.labels, "process": str(index + 1)}) for sample in family.samples
                ]
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


def _add(mine: Metric, family: Metric) -> None:
    sums = {(one.name, tuple(sorted(one.labels.items()))): one for one in mine.samples}
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        before = sums.get(key)
        sums[key] = sample if before is None else Sample(sample.name, sample.labels, before.value + sample.value)
    mine.samples = list(sums.values())


class _Families(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()
