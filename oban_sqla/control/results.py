"""Waiting for what a job returns. (Oban Pro's relay, without a separate queue.)

It looks at the job's row again and again, at first every 10 ms and then less and less often, twice a second in the end.
A notification for each awaited job would come sooner after a long wait, but would cost every job that is acknowledged
a look at who waits.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption, JobCancelled, JobDiscarded, JobFailed, ResultTimeout
from ..models import Job, JobSpec
from ..options.duration import seconds
from ..options.encryption import is_sealed
from ..types import JobState
from ..workers.sealing import opened
from .verbs import Verbs

FIRST_WAIT = 0.010
LONGEST_WAIT = 0.5
LONGEST_ERROR = 500


class ResultVerbs(Verbs):
    """The verbs of :class:`Oban` that wait for what jobs return."""

    async def result(self, target: JobSpec | Job | int, timeout: float = 5.0, *, with_retries: bool = False) -> Any:
        """Wait until a job has finished, on any node, and return the value that it recorded.

        :param target: a committed job: its id, a :class:`Job`, or a flushed spec.
        :param timeout: seconds to wait. Default 5.
        :param with_retries: keep waiting when an attempt fails and the job will be retried. Default False.
        :returns: the recorded value (``@job(recorded=True)`` or :class:`Record`); None if there is none.
        :raises ResultTimeout: if it has not finished in time. The job is not affected.
        :raises JobFailed: if an attempt fails during the wait, unless `with_retries`.
        :raises JobDiscarded: if it failed and has no attempts left.
        :raises JobCancelled: if it was cancelled.
        :raises KeyMissing: if the value is encrypted, and no key of this process opens it.
        :raises InvalidOption: for a target of another type.
        """
        async with self._engines.here() as engine:
            return await _result(engine, target, timeout, with_retries)


async def _result(engine: AsyncEngine, target: JobSpec | Job | int, timeout: float, with_retries: bool) -> Any:
    job_id = target.id if isinstance(target, Job | JobSpec) else target
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        raise InvalidOption(f"result: expected the id of a job, or one that was enqueued and committed, got {target!r}")
    deadline = time.monotonic() + seconds(timeout, "result(timeout)")
    wait = FIRST_WAIT
    failures: int | None = None
    while True:
        found = await _look(engine, job_id)
        if found is not None:
            state, meta, errors, worker = found
            if state == JobState.COMPLETED:
                return _opened(worker, meta.get("return")) if meta.get("recorded") else None
            last = str(errors[-1].get("error", "")) if errors else ""
            if state == JobState.CANCELLED:
                raise JobCancelled(f"job {job_id} was cancelled{_because(last)}", job_id)
            if state == JobState.DISCARDED:
                raise JobDiscarded(f"job {job_id} failed for good{_because(last)}", job_id, last)
            # A failure may have been retried already between two looks.
            failures = len(errors) if failures is None else failures
            if not with_retries and (state == JobState.RETRYABLE or len(errors) > failures):
                raise JobFailed(
                    f"an attempt of job {job_id} failed, and the job will be retried{_because(last)}", job_id, last
                )
        left = deadline - time.monotonic()
        if left <= 0:
            what = "no committed job has this id" if found is None else f"it is {found[0]}"
            raise ResultTimeout(f"job {job_id} had not finished within {timeout:g} s: {what}")
        await asyncio.sleep(min(wait, left))
        wait = min(wait * 1.5, LONGEST_WAIT)


_Found = tuple[JobState | str, dict[str, Any], list[dict[str, Any]], str]


async def _look(engine: AsyncEngine, job_id: int) -> _Found | None:
    chosen = select(Job.state, Job.meta, Job.errors, Job.worker).where(Job.id == job_id)
    async with engine.connect() as connection:
        row = (await connection.execute(chosen)).one_or_none()
    if row is None:
        return None
    # What other programs wrote may be of any type.
    return row.state, _object(row.meta), [_object(entry) for entry in _array(row.errors)], row.worker


def _opened(worker: str, value: Any) -> Any:
    """A recorded value, decrypted where the worker has encrypted it."""
    return json.loads(opened(worker, json.dumps(value, separators=(",", ":")))) if is_sealed(value) else value


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _array(value: object) -> list[object]:
    return list(cast(list[object], value)) if isinstance(value, list) else []


def _because(error: str) -> str:
    lines = error.strip().splitlines()
    return f": {lines[-1][:LONGEST_ERROR]}" if lines else ""
