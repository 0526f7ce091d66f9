"""Jobs that have finished: how, where, and how long they stay."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ...options.chain import LETTERS
from ...options.prune import PrunePolicy
from ..words import span
from .facts import Facts, error_gist
from .reason import Reason


def completed(facts: Facts) -> list[Reason]:
    job = facts.job
    took = _took(job.attempted_at, job.completed_at)
    text = f"it was completed {facts.ago(job.completed_at)}{_by(job)}{took}"
    return [Reason("completed", f"{text}; {_kept(facts, job.completed_at)}")]


def discarded(facts: Facts) -> list[Reason]:
    job = facts.job
    text = (
        f"it was discarded {facts.ago(job.discarded_at)}{_by(job)}, after attempt {job.attempt} of {job.max_attempts}"
    )
    return [Reason("discarded", _with_error(text, job, facts, job.discarded_at), _again(job))]


def cancelled(facts: Facts) -> list[Reason]:
    job = facts.job
    by = _by(job) if job.attempted_at is not None else ", before it ran"
    text = f"it was cancelled {facts.ago(job.cancelled_at)}{by}"
    return [Reason("cancelled", _with_error(text, job, facts, job.cancelled_at), _again(job))]


def _with_error(text: str, job: Any, facts: Facts, finished_at: datetime | None) -> str:
    error = error_gist(job.error)
    return f"{text}; {_kept(facts, finished_at)}" + (f"; its last error: {error}" if error else "")


def _again(job: Any) -> str:
    return f"to run it again: oban-sqla jobs retry {job.id}"


def _by(job: Any) -> str:
    return f" by {job.node}" if job.node else ""


def _took(began: datetime | None, ended: datetime | None) -> str:
    return "" if began is None or ended is None else f", in {span((ended - began).total_seconds())}"


def _kept(facts: Facts, finished_at: datetime | None) -> str:
    """When a pruner with this node's options deletes it."""
    prune, job = facts.config.prune, facts.job
    if prune is None:
        return "a node with these options prunes no jobs"
    if job.state == "discarded" and (job.chain_key or "").startswith(f"{LETTERS['hold']}|"):
        return "it holds its chain, and is kept until it is retried, deleted or cancelled"
    if job.workflow_id is not None or job.batch_id is not None:
        whole = "workflow" if job.workflow_id is not None else "batch"
        return f"it is kept until its whole {whole} is pruned, some time after that has finished"
    policy = _policy(prune.all_policies, job.state, job.queue, job.worker)
    beyond = "" if policy.max_count is None else f", or sooner when there are {policy.max_count:,} newer ones"
    if policy.age is None:
        return f"it is kept forever{beyond}"
    left = policy.age - (0.0 if finished_at is None else facts.seconds(finished_at))
    if left <= 0:
        return "it is due to be pruned, unless the nodes' Prune(...) differs from this one's"
    return f"a node with these options prunes it in {span(left)}{beyond}"


def _policy(policies: Iterable[PrunePolicy], state: str, queue: str, worker: str) -> PrunePolicy:
    """The first that applies; the last one always does."""
    return next(policy for policy in policies if state in policy.states and policy.is_for(queue, worker))
