"""One job, run by this process in the foreground: as a node would, but in the thread that calls.

A node of another instance, with one queue from which it fetches nothing, takes the job by its id. So the job has an
owner with a heartbeat and a lock, is not rescued meanwhile, and its outcome is fenced like any other.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption, UnknownWorker, closest
from ..models.job import jobs
from ..options.queue import Queue
from ..options.sessionmakers import SessionMaker, with_default
from ..runtime.config import Config
from ..runtime.executors.inline import Inline
from ..runtime.executors.loop import OnLoop
from ..runtime.lanes.settings import READ_COMMITTED
from ..runtime.node import Node
from ..runtime.row import Row, row_of
from ..statements.drain import take
from ..workers.registry import workers
from .lifecycle import Lifecycle

WAITING = ("available", "scheduled", "retryable")
_OF_A_JOB = ("resources", "hooks", "encryption", "job_logs", "log_exceptions", "notify")
_FAR = datetime(9999, 1, 1, tzinfo=UTC).replace(tzinfo=None)


async def run_job(
    engine: AsyncEngine,
    makers: tuple[SessionMaker, ...],
    job_id: int,
    given: Config | None = None,
    runtime: object = None,
) -> str:
    """Run a job that waits, at once: whatever its time, its queue, and the limits of that.

    :param engine: of the database.
    :param makers: the sessionmakers of jobs that ask for a session.
    :param job_id: its id.
    :param given: the options of the user's Oban, of which those hold that reach into a job. Default: there are none.
    :param runtime: given to a job that asks for it. Default: there is none.
    :returns: its state afterwards; ``"deleted"`` if it has deleted itself.
    :raises InvalidOption: for a job that is not there, or does not wait.
    :raises UnknownWorker: for one whose worker this process has not registered.
    """
    await _check(engine, job_id)
    name = f"run of job {job_id} ({uuid4().hex[:8]})"
    config = Config.checked(
        queues={name: Queue(limit=1, paused=True)},
        node=None,
        sessionmaker=with_default(makers, engine),
        name=name,
        prune=None,
        shutdown_grace=0.0,
        **({} if given is None else {option: getattr(given, option) for option in _OF_A_JOB}),
    )
    life = Lifecycle(engine, config, runtime, introduces=False)  # its queue is a name for this run alone
    await life.start()
    try:
        assert life.node is not None
        await _run(life.node, await _taken(engine, life.node, name, job_id), name)
    finally:
        await life.stop()
    found = await _found(engine, job_id)
    return "deleted" if found is None else str(found.state)


async def _run(node: Node, row: Row, queue: str) -> None:
    worker = workers[row.worker]
    # In this thread, wherever it runs on a node, so that a debugger has the terminal.
    node.host.executors = {**node.host.executors, worker.executor: OnLoop() if worker.is_async else Inline()}
    node.host.remotes = {}
    await asyncio.shield(node.producers[queue].run(row))


async def _taken(engine: AsyncEngine, node: Node, queue: str, job_id: int) -> Row:
    producer = node.producers[queue]
    attempted_by = [producer.node, producer.key]
    given: dict[str, Any] = {"queues": None, "until": _FAR, "among": [job_id], "ran": [], "attempted_by": attempted_by}
    async with engine.execution_options(**READ_COMMITTED).begin() as connection:
        taken = await connection.run_sync(lambda sync: take.execute(sync, **given).one_or_none())
    if taken is None:
        raise InvalidOption(f"job {job_id} could not be taken; `oban-sqla why {job_id}` says what it is doing")
    return row_of(*taken, attempted_by)


async def _check(engine: AsyncEngine, job_id: int) -> None:
    found = await _found(engine, job_id)
    if found is None:
        raise InvalidOption(f"there is no job {job_id}")
    if found.state not in WAITING:
        raise InvalidOption(
            f"job {job_id} is {found.state}, and only a job that waits can be run; "
            f"`oban-sqla jobs retry {job_id}` lets one that has finished wait again"
        )
    if workers.get(found.worker) is None:
        near = closest(found.worker, workers)
        hint = f"did you mean {near!r}, which is registered?" if near else "name the module that registers it"
        raise UnknownWorker(f"job {job_id} is of the worker {found.worker!r}, which is not registered; {hint}")


async def _found(engine: AsyncEngine, job_id: int) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(select(jobs.c.state, jobs.c.worker).where(jobs.c.id == job_id))).one_or_none()
