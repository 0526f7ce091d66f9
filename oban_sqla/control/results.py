"""Waiting for what jobs return. (Oban Pro's relay, without a separate queue.)

On a started node all waits share one statement, woken by notifications; see the node's waiter. Elsewhere each call
looks again and again: at first every 10 ms and then less and less often, twice a second in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from ..enqueueing.unit_of_work import OWN
from ..errors import (
    DatabaseUnavailable,
    InvalidOption,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    ObanError,
    ResultTimeout,
)
from ..models import Job, JobSpec, Workflow
from ..models.node import Node
from ..options.duration import seconds
from ..options.encryption import using
from ..options.instance import is_instance, told
from ..runtime.instances import load_keys
from ..runtime.lanes.failure import StatementFailed
from ..runtime.waiter import DELETED, FIRST_WAIT, LONGEST_WAIT, Seen, Wait, Waiter, show
from ..statements.outcomes import outcomes, recorded_value
from ..telemetry.gist import gist
from ..workers import context
from ..workers.entity import keys_in, with_instances
from ..workers.registry import workers
from ..workers.returned import Returned
from ..workers.sealing import opened
from .flow_results import edge, flow_result, returns_flow, specs_in
from .job_id import id_of
from .merged import merged
from .reading import read_again
from .result import Result
from .slot import Slot
from .verbs import Verbs

LONGEST_ERROR = 500

R = TypeVar("R")
T = TypeVar("T", bound=JobSpec | Job | int | Workflow | Node)


class ResultVerbs(Verbs):
    """The verbs of :class:`Oban` that wait for what jobs return."""

    @overload
    async def result(self, target: JobSpec[R], timeout: float = 5.0, *, with_retries: bool = False) -> R: ...
    @overload
    async def result(self, target: Node[R], timeout: float = 5.0, *, with_retries: bool = False) -> R: ...
    @overload
    async def result(
        self, target: Job | int | Workflow, timeout: float = 5.0, *, with_retries: bool = False
    ) -> Any: ...
    async def result(
        self,
        target: JobSpec[Any] | Job | int | Workflow | Node[Any],
        timeout: float = 5.0,
        *,
        with_retries: bool = False,
    ) -> Any:
        """Wait until a job has finished, on any node, and return the value that it recorded.

        ::

            [spec] = await oban.enqueue(load_user.new(7))
            user = await oban.result(spec)

        A started node learns of the end by a notification; without one it looks again and again. In a job the wait
        frees the job's slot on its node; limits of the cluster still count the job.

        :param target: a committed job: a flushed spec, its id, or a :class:`Job`; or a :class:`Workflow` that returns
            the result of a node, or such a :class:`Node`.
        :param timeout: seconds to wait. Default 5.
        :param with_retries: keep waiting when an attempt fails and the job will be retried. Default False.
        :returns: the recorded value (``@job(recorded=True)`` or :class:`Record`); None if there is none. Of a spec it
            has the type that the function declares, and of a workflow or node that this process has built; of an id, a
            :class:`Job` or a workflow that was loaded it is what JSON gives. Of a job that returns a workflow it is
            what that returns.
        :raises ResultTimeout: if it has not finished in time. The job is not affected.
        :raises JobFailed: if an attempt fails during the wait, unless `with_retries`.
        :raises JobDiscarded: if it failed and has no attempts left.
        :raises JobCancelled: if it was cancelled, or deleted during the wait.
        :raises ObanError: if it was retried before its value, a large one, was read.
        :raises KeyMissing: if the value is encrypted, and no key of this process opens it.
        :raises InvalidOption: for a target of another type, a spec whose function declares to return a value that it
            does not record, or, in a job, one that the job's own session has enqueued: that is committed only when the
            job ends.
        :raises InvalidArgs: if the recorded value does not fit the type that the function declares.
        """
        if _is_flow(target):
            _refuse_own(target, "result")
            return await self._of_flow(target, seconds(timeout, "result(timeout)"))
        async with aclosing(self._ended([target], timeout, with_retries, "result")) as ended:
            async for _, result in ended:
                return result.value
        raise AssertionError  # pragma: no cover (there is one for each target)

    @overload
    def results(
        self, targets: Iterable[JobSpec[R]], timeout: float = 5.0, *, with_retries: bool = False
    ) -> AsyncGenerator[tuple[JobSpec[R], Result[R]], None]: ...
    @overload
    def results(
        self, targets: Iterable[Node[R]], timeout: float = 5.0, *, with_retries: bool = False
    ) -> AsyncGenerator[tuple[Node[R], Result[R]], None]: ...
    @overload
    def results(
        self, targets: Iterable[T], timeout: float = 5.0, *, with_retries: bool = False
    ) -> AsyncGenerator[tuple[T, Result[Any]], None]: ...
    def results(
        self, targets: Iterable[Any], timeout: float = 5.0, *, with_retries: bool = False
    ) -> AsyncGenerator[tuple[Any, Result[Any]], None]:
        """Wait for several jobs: ``async for spec, result in oban.results(specs): …``, as they finish.

        :param targets: committed jobs: flushed specs, ids, or :class:`Job` objects; or workflows and nodes that
            :meth:`result` takes.
        :param timeout: seconds to wait for all of them together. Default 5.
        :param with_retries: keep waiting when an attempt fails and the job will be retried; workflows always do.
            Default False.
        :returns: an asynchronous iterator: for each target, as it was given, a :class:`Result`, which has ``value`` or
            ``error``. A job that has returned a workflow, and is given by its id alone, comes after the other jobs.
            What has not finished in time comes last, with a :class:`ResultTimeout`.
        :raises InvalidOption: for a target of another type, a spec whose function declares to return a value that it
            does not record, a workflow that is not written, or, in a job, what the job's own session has enqueued:
            that is committed only when the job ends.
        """
        given: object = targets
        if isinstance(given, str) or is_instance(given) or not isinstance(given, Iterable):
            raise InvalidOption(
                f"results: expected a list of specs or ids, got {told(given)}; for one there is oban.result(…)"
            )
        several = list(targets)
        flows = [target for target in several if _is_flow(target)]
        if not flows:
            return self._ended(several, timeout, with_retries, "results")
        limit = seconds(timeout, "results(timeout)")
        for flow in flows:
            _refuse_own(flow, "results")
            edge(flow)
        jobs = [target for target in several if not _is_flow(target)]
        ended = self._ended(jobs, limit, with_retries, "results", frees_slot=False)
        return merged([ended, *(self._flow_ended(flow, limit, flow) for flow in flows)])

    async def _flow_ended(
        self, flow: Any, limit: float, target: Any, until: float | None = None
    ) -> AsyncGenerator[tuple[Any, Result[Any]], None]:
        try:
            yield target, Result(await self._of_flow(flow, limit, until, frees_slot=False))
        except ObanError as error:
            yield target, Result(None, error)

    async def _of_flow(self, target: Any, limit: float, until: float | None = None, *, frees_slot: bool = True) -> Any:
        with using(self.config.encryption):
            async with self._engines.here() as engine:
                value = await flow_result(engine, target, limit, self._waiter, until=until, frees_slot=frees_slot)
        return await self._with_instances(value)

    def _ended(
        self, targets: list[Any], timeout: float, with_retries: bool, what: str, *, frees_slot: bool = True
    ) -> AsyncGenerator[tuple[Any, Result[Any]], None]:
        limit = seconds(timeout, f"{what}(timeout)")
        ready: asyncio.Queue[Wait] = asyncio.Queue()
        awaited = [
            _Awaited(target, _returned(target), Wait(_ended_id(target, what), with_retries, ready.put_nowait))
            for target in targets
        ]
        return self._as_they_end(awaited, ready, limit, Slot(is_mine=frees_slot))

    async def _as_they_end(
        self, awaited: list[_Awaited], ready: asyncio.Queue[Wait], limit: float, slot: Slot
    ) -> AsyncGenerator[tuple[Any, Result[Any]], None]:
        until = time.monotonic() + limit
        left = {id(one.wait): one for one in awaited}
        replaced: list[_Awaited] = []
        """Jobs whose place a workflow has taken, which their targets did not tell."""
        try:
            async with aclosing(self._over([one.wait for one in awaited], ready, until, slot)) as over:
                async for wait in over:
                    one = left.pop(id(wait))
                    await slot.back()
                    if wait.seen is not None and wait.seen.has_flow:
                        replaced.append(one)
                    else:
                        yield one.target, await self._outcome(one)
            await slot.back()
            flows = [self._flow_ended(one.wait.id, limit, one.target, until) for one in replaced]
            async for ended in merged(flows, frees_slot=slot.is_held):
                yield ended
            for one in left.values():
                yield one.target, Result(None, _late(one.wait, limit))
        finally:
            slot.close()

    async def _over(
        self, waits: list[Wait], ready: asyncio.Queue[Wait], until: float, slot: Slot
    ) -> AsyncGenerator[Wait, None]:
        """The waits that are over, as they come; those that are not by then are left out."""
        left = {id(wait): wait for wait in waits}
        waiter = self._waiter
        if left and waiter is not None:
            # The slot is not given up for what has ended already; and there may be no time for more than a look.
            if slot.is_held or time.monotonic() >= until:
                with suppress(StatementFailed):
                    await waiter.look(waits)
            waiter.add(wait for wait in waits if not wait.is_over)
            try:
                while left and (wait := await _next(ready, until, slot)) is not None:
                    if not wait.is_over:
                        break  # the node stops
                    del left[id(wait)]
                    yield wait
                if not left or time.monotonic() >= until:
                    return
            finally:
                waiter.remove(waits)
        async with self._engines.without_keys() as engine:
            pause = FIRST_WAIT
            while left:
                try:
                    await _look(engine, [*left.values()], until - time.monotonic())
                except DatabaseUnavailable as error:
                    for wait in left.values():
                        wait.trouble = str(error)
                    return
                for wait in [wait for wait in left.values() if wait.is_over]:
                    del left[id(wait)]
                    yield wait
                if not left or (remaining := until - time.monotonic()) <= 0:
                    return
                slot.leave()
                await asyncio.sleep(min(pause, remaining))
                pause = min(pause * 1.5, LONGEST_WAIT)

    @property
    def _waiter(self) -> Waiter | None:
        """What waits for this process, where a node of it is started."""
        node = self._node
        return node.waiter if node is not None and node.runs_here and node.waiter.is_alive else None

    async def _outcome(self, one: _Awaited) -> Result[Any]:
        seen = one.wait.seen
        assert seen is not None  # it is over
        if (error := _error(seen)) is not None:
            return Result(None, error)
        text = seen.value
        if seen.is_large:
            async with self._engines.here() as engine:
                found: Any = await read_again(
                    engine, lambda plain: recorded_value.execute(plain, id=seen.id).first(), f"result of job {seen.id}"
                )
            if found is None:
                return Result(None, JobCancelled(f"job {seen.id} was deleted before its value was read", seen.id))
            if not found.is_completed:
                return Result(
                    None, ObanError(f"job {seen.id} was retried before its value was read; wait for it again")
                )
            text = found.value
        try:
            if text is None:
                return Result()
            with using(self.config.encryption):
                value = one.returned.read(opened(seen.worker, text))
            return Result(await self._with_instances(value))
        except ObanError as error:
            return Result(None, error)

    async def _with_instances(self, value: Any) -> Any:
        """`value` with the instances, detached, in the place of their keys."""
        if not (keys := list(keys_in(value))):
            return value
        found: dict[int, Any] = {}

        def read(plain: Connection) -> None:
            with Session(plain, expire_on_commit=False) as session:
                load_keys(session, keys, found)
                session.expunge_all()

        async with self._engines.here() as engine:
            await read_again(engine, read, "result")
        if (gone := next((key for key in keys if id(key) not in found), None)) is not None:
            raise ObanError(
                f"there is no {gone.entity.name} with the key {gone.entity.written(gone.values)!r} any more"
            )
        return with_instances(value, found)


@dataclass(frozen=True, slots=True)
class _Awaited:
    target: Any
    returned: Returned
    wait: Wait


async def _next(ready: asyncio.Queue[Wait], until: float, slot: Slot) -> Wait | None:
    """The next wait that is over; None when the time is."""
    if ready.empty():
        slot.leave()
    try:
        async with asyncio.timeout(max(until - time.monotonic(), 0)):
            return await ready.get()
    except TimeoutError:
        return None


def _is_flow(target: object) -> bool:
    return isinstance(target, Workflow | Node) or returns_flow(target)


def _ended_id(target: Any, what: str) -> int:
    """The id of a job whose end can be waited for."""
    _refuse_own(target, what)
    return id_of(what, target)


def _refuse_own(target: Any, what: str) -> None:
    running = context.running.get(None)
    opened = None if running is None else running.session
    if opened is None:
        return
    session = opened.sync_session if isinstance(opened, AsyncSession) else opened
    own: set[int] = session.info.get(OWN, set())
    if isinstance(target, Workflow | Node):
        pending = any(one.id in own for one in specs_in(cast(Any, target)))
    else:
        pending = isinstance(target, JobSpec) and target.session is session
        pending = pending or (target.id if isinstance(target, Job | JobSpec) else target) in own
    if pending:
        raise InvalidOption(
            f"{what}: {target!r} was enqueued by the session of this job, whose commit comes when the job ends, so it "
            "would never start; enqueue it in a separate transaction: await oban.enqueue(spec)"
        )


def _returned(target: Any) -> Returned:
    """What the function of a spec declares. Of anything else nothing is known."""
    worker = workers.get(target.worker) if isinstance(target, JobSpec) else None
    if worker is None or worker.arguments is None:
        return Returned(_undeclared)
    returned = worker.arguments.returned
    if returned.declares_value and not worker.recorded:
        raise InvalidOption(
            f"result: {worker.name} declares to return a value, and records none; write @job(recorded=True), or let "
            "it return None"
        )
    return returned


def _undeclared():  # type: ignore[no-untyped-def]  # so that what it returns is not declared
    """A function that declares nothing."""


def _error(seen: Seen) -> ObanError | None:
    last = seen.error or ""
    match seen.state:
        case "completed":
            return None
        case "cancelled":
            return JobCancelled(f"job {seen.id} was cancelled{_because(last)}", seen.id)
        case str(state) if state == DELETED:
            return JobCancelled(f"job {seen.id} was deleted before it had finished", seen.id)
        case "discarded":
            return JobDiscarded(f"job {seen.id} failed for good{_because(last)}", seen.id, last)
        case _:
            text = f"an attempt of job {seen.id} failed, and the job will be retried{_because(last)}"
            return JobFailed(text, seen.id, last)


def _late(wait: Wait, limit: float) -> ResultTimeout:
    what = wait.trouble or ("no committed job has this id" if wait.seen is None else f"it is {wait.seen.state}")
    return ResultTimeout(f"job {wait.id} had not finished within {limit:g} s: {what}")


async def _look(engine: AsyncEngine, waits: Sequence[Wait], seconds: float) -> None:
    ids = sorted({wait.id for wait in waits})
    rows = await read_again(
        engine, lambda plain: outcomes.execute(plain, ids=[str(one) for one in ids]).all(), "result", seconds
    )
    show(rows, waits)


def _because(error: str) -> str:
    said = gist(error)
    return f": {said[:LONGEST_ERROR]}" if said else ""
