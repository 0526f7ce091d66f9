"""Metrics for Prometheus: ``metrics = oban_sqla.prometheus.instrument()``. Needs the extra ``prometheus``.

=================================== =========== ===================== =================================================
metric                              kind        labels                meaning
=================================== =========== ===================== =================================================
``oban_jobs_total``                 counter     queue, worker, state  runs by the state that the job got; and by the
                                                                      leader, jobs that were discarded with their node
``oban_job_duration_seconds``       histogram   queue, worker         how long runs took
``oban_job_queue_time_seconds``     histogram   queue                 how long jobs were due before they started
``oban_jobs_running``               gauge       queue                 jobs that run in this process
``oban_fenced_total``               counter     queue                 runs whose job had been given to another run
``oban_staged_total``               counter                           jobs that became available when they were due
``oban_rescued_total``              counter                           jobs of dead nodes
``oban_pruned_total``               counter                           finished jobs that were deleted
``oban_prioritized_total``          counter                           times that a job became more urgent
``oban_workflows_total``            counter     state                 ended workflows, without those inside them
``oban_workflow_duration_seconds``  histogram                         how long they took
``oban_leader``                     gauge                             1 while this process leads
``oban_queue_jobs``                 gauge       queue, state          unfinished jobs, at the last :meth:`Metrics.count`
``oban_queue_oldest_seconds``       gauge       queue                 how long the oldest available job was due then
=================================== =========== ===================== =================================================

All but the last two come from telemetry, and are about this process. The last two are about the database, the same
from every node. The buckets of runs and waits end at four hours, those of workflows at a week. Counters
with labels are 0 from the first :meth:`Metrics.count`, or the first run of the worker, on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from . import telemetry
from .runtime.lanes.bounded import bounded
from .runtime.lanes.lane import STATEMENT_TIMEOUT
from .statements.census import census
from .workers.registry import workers

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise ImportError("oban_sqla.prometheus needs prometheus-client: pip install 'oban-sqla[prometheus]'") from error

_HANDLER = "oban_sqla.prometheus"
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_ELECTIONS = ("oban.leader.election.stop", "oban.leader.election.exception")
_SECONDS = (*Histogram.DEFAULT_BUCKETS[:-1], 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
"""The buckets of runs and waits. The client's own end at 10 s, so a quantile of longer runs would be 10 s."""
_LONG = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0)
"""Those of workflows, which may wait for days."""
_FIRST_STATES = ("completed", "retryable", "discarded", "cancelled")
"""The states of which a worker's runs are 0 from its first run on: to Prometheus, what begins at 1 has not grown."""
_COUNTED = {
    "oban.stager.stage.stop": ("staged_count", "oban_staged", "Jobs that became available when they were due."),
    "oban.lifeline.rescue.stop": ("rescued_count", "oban_rescued", "Jobs of dead nodes that were rescued."),
    "oban.pruner.prune.stop": ("pruned_count", "oban_pruned", "Finished jobs that were deleted."),
    "oban.prioritizer.raise.stop": (
        "raised_count",
        "oban_prioritized",
        "Times that a job became more urgent because it had waited long.",
    ),
}


def instrument(registry: CollectorRegistry = REGISTRY) -> Metrics:
    """Start to collect metrics. Call it once per process.

    :param registry: a registry of ``prometheus_client``. Default: its global one.
    :returns: the metrics of this process.
    :raises ValueError: if the registry has these metrics already; raised by the client.
    """
    return Metrics(registry)


class Metrics:
    """The metrics of this process, made by :func:`instrument`.

    :param registry: a registry of ``prometheus_client``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # How many runs are counted as running, by job and attempt, which are the same in two databases: written by
        # _on_job().
        self._begun: dict[tuple[int, int], int] = {}
        # Queues and workers that are counted: written by _begin().
        self._known: set[tuple[str, str]] = set()
        self._jobs = Counter("oban_jobs", "Runs of jobs.", ("queue", "worker", "state"), registry=registry)
        self._duration = Histogram(
            "oban_job_duration_seconds",
            "How long runs took.",
            ("queue", "worker"),
            registry=registry,
            buckets=_SECONDS,
        )
        self._queue_time = Histogram(
            "oban_job_queue_time_seconds",
            "How long jobs were due before they started.",
            ("queue",),
            registry=registry,
            buckets=_SECONDS,
        )
        # The modes say what several processes of a server that share PROMETHEUS_MULTIPROC_DIR answer.
        self._running = Gauge(
            "oban_jobs_running",
            "Jobs that are running in this process.",
            ("queue",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._fenced = Counter(
            "oban_fenced",
            "Runs that ended after their job had been given to another run.",
            ("queue",),
            registry=registry,
        )
        self._counted = {
            event: (field, Counter(name, text, registry=registry)) for event, (field, name, text) in _COUNTED.items()
        }
        self._flows = Counter("oban_workflows", "Workflows that have ended.", ("state",), registry=registry)
        for state in ("completed", "failed", "cancelled"):
            self._flows.labels(state)
        self._flow_duration = Histogram(
            "oban_workflow_duration_seconds", "How long workflows took.", registry=registry, buckets=_LONG
        )
        self._leader = Gauge(
            "oban_leader", "1 while this process leads.", registry=registry, multiprocess_mode="livesum"
        )
        self._queue_jobs = Gauge(
            "oban_queue_jobs",
            "Unfinished jobs.",
            ("queue", "state"),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._oldest = Gauge(
            "oban_queue_oldest_seconds",
            "For how long the oldest available job is due.",
            ("queue",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        telemetry.attach(_HANDLER, telemetry.JOB_EVENTS, self._on_job)
        others = ("oban.fenced", "oban.lifeline.discard", *_ELECTIONS, "oban.workflow.stop", *_COUNTED)
        telemetry.attach(_HANDLER, others, self._on_other)

    def detach(self) -> None:
        """Stop collecting."""
        telemetry.detach(_HANDLER)

    async def count(self, engine: AsyncEngine) -> None:
        """Update the two metrics about the database. Await it before each answer to ``/metrics``, or periodically.

        Counters of the workers of this process begin at 0 with it, so that their first failure is an increase.

        :param engine: an engine on the database. The unfinished jobs are counted with the help of partial indexes.
        :raises TimeoutError: when the database has not answered for 10 seconds.
        """
        for name in list(workers):
            self._begin(workers[name].queue, name)
        rows = await bounded(
            engine, STATEMENT_TIMEOUT, lambda connection: connection.run_sync(lambda sync: census.execute(sync).all())
        )
        _set(self._queue_jobs, {(row.queue, row.state): row.jobs for row in rows})
        _set(self._oldest, {(row.queue,): row.oldest for row in rows if row.oldest is not None})

    def _on_job(self, event: str, fields: Mapping[str, Any]) -> None:
        queue, worker, run = fields["queue"], fields["worker"], (fields["job_id"], fields["attempt"])
        self._begin(queue, worker)
        if event == "oban.job.start":
            self._begun[run] = self._begun.get(run, 0) + 1
            self._running.labels(queue).inc()
            return
        if others := self._begun.pop(run, 0):  # else it had begun before it was instrumented
            if others > 1:
                self._begun[run] = others - 1
            self._running.labels(queue).dec()
        self._jobs.labels(queue, worker, fields["state"]).inc()
        self._duration.labels(queue, worker).observe(fields["duration"])
        self._queue_time.labels(queue).observe(max(fields["queue_time"], 0.0))

    def _begin(self, queue: str, worker: str) -> None:
        """Let what is counted of these begin at 0."""
        if (queue, worker) in self._known:
            return
        self._known.add((queue, worker))
        for state in _FIRST_STATES:
            self._jobs.labels(queue, worker, state)
        self._fenced.labels(queue)

    def _on_other(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "oban.fenced":
            self._fenced.labels(fields["queue"]).inc()
        elif event == "oban.lifeline.discard":
            self._begin(fields["queue"], fields["worker"])
            self._jobs.labels(fields["queue"], fields["worker"], "discarded").inc()
        elif event == "oban.workflow.stop":
            if fields["parent_id"] is None:
                self._flows.labels(fields["state"]).inc()
                self._flow_duration.observe(fields["duration"])
        elif event in _ELECTIONS:
            self._leader.set(bool(fields["leader"]))
        else:
            field, counter = self._counted[event]
            counter.inc(fields[field])


def _set(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Let `gauge` have these values, by labels, and no others. A thread that answers meanwhile finds none missing."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    for family in gauge.collect():
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            if labels in values:
                continue
            if _SHARED in os.environ:  # from the files that processes share nothing is removed
                gauge.labels(*labels).set(0)
            else:
                gauge.remove(*labels)


__all__ = ["Metrics", "instrument"]
