"""The functions that the migration creates in the schema of the tables, as SQLAlchemy expressions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Double, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..models.job import jobs


class OwnFunction(FunctionElement[Any]):
    """Base of these functions. Each is a class, because the name is a part of the cache key only there.

    ``schema_translate_map`` reaches tables alone, so the name is written beside that of the jobs table.
    """

    def __init_subclass__(cls) -> None:
        cls.inherit_cache = True  # which SQLAlchemy looks for in each class itself


class FetchLimited(OwnFunction):
    """Takes what a queue with limits may start now. Gives rows of a job, ``ring_at``, ``wait`` and ``more``."""

    name = "oban_fetch_limited"


class Declared(OwnFunction):
    """Partitions a queue by these fields; whether that is a change."""

    name = "oban_partition"
    type = Boolean()


class Allowance(OwnFunction):
    """Gives a row of ``room`` and ``opens``: what a rate limit allows, and when it allows more."""

    name = "oban_allowance"


class Consumed(OwnFunction):
    """Counts starts in a rate limit, if it allows them; whether it does."""

    name = "oban_consume"
    type = Boolean()


class Suspended(OwnFunction):
    """Lets nothing of a queue or key start before a time; in how many seconds that is."""

    name = "oban_suspend"
    type = Double[float]()


class Forgotten(OwnFunction):
    """Forgets what has started in a queue or key, and until when it is suspended; whether there was anything."""

    name = "oban_forget"
    type = Boolean()


class PartitionKey(OwnFunction):
    """The key of a job in its queue: of an epoch, the fields of a partition, and the job's worker, args and meta."""

    name = "oban_partition_key"
    type = Text()


class ReleaseFlows(OwnFunction):
    """Acts on the news of flows. Gives rows of ``queue`` and ``jobs``."""

    name = "oban_release_flows"


class FlowTree(OwnFunction):
    """The ids of a workflow and of all workflows inside it, as an array."""

    name = "oban_flow_tree"


class FlowOutcome(OwnFunction):
    """What became of a node, a job or minus a workflow: ``o`` open, ``d`` done, ``f`` failed."""

    name = "oban_outcome"
    type = Text()


class FlowValue(OwnFunction):
    """What a node gives: a job, or minus a workflow."""

    name = "oban_value"
    type = JSONB()


class RetryFlow(OwnFunction):
    """Lets what failed in a workflow wait again, or all from a node on; how many jobs, -1 for an unknown node."""

    name = "oban_retry_flow"
    type = Integer()


class DeleteFlow(OwnFunction):
    """Deletes a workflow whole; how many jobs, null where one executes."""

    name = "oban_delete_flow"
    type = Integer()


class PruneFlows(OwnFunction):
    """Deletes old workflows whole; how many jobs."""

    name = "oban_prune_flows"
    type = Integer()


class ReleaseSignals(OwnFunction):
    """Wakes jobs that wait for a signal which has come. Gives rows of ``queue`` and ``jobs``."""

    name = "oban_release_signals"


class SweepFlows(OwnFunction):
    """Makes news of what no trigger saw of flows; how many."""

    name = "oban_sweep_flows"
    type = Integer()


class Waited(OwnFunction):
    """Takes the signal that a wait of a job asks for. Gives a row of ``kind``, ``value`` and ``rest``."""

    name = "oban_wait"


class ReleaseChains(OwnFunction):
    """Acts on the news of chains. Gives rows of ``queue`` and ``jobs``."""

    name = "oban_release_chains"


class SweepChains(OwnFunction):
    """Makes news of what no trigger saw of chains; how many."""

    name = "oban_sweep_chains"
    type = Integer()


class ReleaseBatches(OwnFunction):
    """Acts on the news of batches. Gives rows of ``queue`` and ``jobs``."""

    name = "oban_release_batches"


class SweepBatches(OwnFunction):
    """Makes news of what no trigger saw of batches; how many."""

    name = "oban_sweep_batches"
    type = Integer()


@compiles(OwnFunction)
def _write(element: OwnFunction, compiler: SQLCompiler, **options: Any) -> str:
    prefix = compiler.preparer.format_table(jobs).removesuffix(jobs.name)
    return f"{prefix}{element.name}({compiler.process(element.clauses, **options)})"
