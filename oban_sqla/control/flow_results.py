"""Waiting for what a workflow, or a node of one, returns.

On a started node its waiter says when it is time to look; elsewhere each call looks again and again, as for jobs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import DatabaseUnavailable, InvalidOption, JobCancelled, JobDiscarded, ResultTimeout
from ..models import JobSpec, Workflow
from ..models.node import Node, Nodes, worker_of
from ..options.encryption import SEALED
from ..runtime.waiter import FIRST_WAIT, LONGEST_WAIT, Wait, Waiter
from ..statements.flow_values import parts_of, recorder_of
from ..statements.flows import first_failure, outcome_of
from ..telemetry.gist import gist
from ..workers.registry import workers
from ..workers.sealing import opened_value
from .reading import read_again
from .slot import Slot

Target: TypeAlias = "Workflow | Node[Any] | JobSpec[Any] | int"
"""A number is the id of a job that has returned a workflow."""


def returns_flow(target: object) -> bool:
    """Whether it is the spec of a job that returns a workflow, whose result is then that of the job."""
    worker = workers.get(target.worker) if isinstance(target, JobSpec) else None
    return worker is not None and worker.arguments is not None and worker.arguments.returned.declares_flow


def specs_in(target: Workflow | Node[Any]) -> Iterator[JobSpec[Any]]:
    """The jobs of a workflow or a node that this process has built."""
    flow = target if isinstance(target, Workflow) else target.sub
    if isinstance(target, Node) and target.spec is not None:
        yield target.spec
    if flow is not None:
        for node in flow.nodes.values():
            yield from specs_in(node)


async def flow_result(
    engine: AsyncEngine,
    target: Target,
    limit: float,
    waiter: Waiter | None = None,
    *,
    until: float | None = None,
    frees_slot: bool = True,
) -> Any:
    """Wait until a workflow, a node, or the workflow that a job returns has finished, and return its result.

    :param limit: seconds to wait.
    :param waiter: of the node of this process. Default: there is none.
    :param until: when they are over, in monotonic seconds. Default: they begin now.
    :param frees_slot: whether the wait frees the slot of the job that waits. Default True.
    :returns: the value; with a key in the place of each instance of a mapped class.
    :raises ResultTimeout: if it has not finished in time.
    :raises JobDiscarded: if it failed.
    :raises JobCancelled: if it was cancelled.
    :raises InvalidOption: for one that is not written.
    """
    node = edge(target)
    until = time.monotonic() + limit if until is None else until
    while True:
        slot = Slot(is_mine=frees_slot)
        try:
            found = await _finished(engine, node, target, limit, until, slot, waiter)
            await slot.back()
        finally:
            slot.close()
        if found.outcome == "d":
            text: str | None = found.value
            if text is None:
                return None
            if SEALED in text:
                text = await read_again(engine, partial(_opened_text, node=node, text=text), "result")
            return _read(target, text)
        failed: Any = await read_again(engine, lambda plain: first_failure.execute(plain, node=node).first(), "result")
        again: Any = None
        if failed is None:  # it is gone, or was retried between the two looks
            again = await read_again(engine, lambda plain: outcome_of.execute(plain, node=node).one(), "result")
        if again is None or again.outcome == "f":
            raise _failure(target, failed)


async def _finished(
    engine: AsyncEngine, node: int, target: Target, limit: float, until: float, slot: Slot, waiter: Waiter | None
) -> Any:
    pause = FIRST_WAIT
    while True:
        left = until - time.monotonic()
        try:
            found: Any = await read_again(
                engine, lambda plain: outcome_of.execute(plain, node=node).one(), "result", left
            )
        except DatabaseUnavailable as error:
            await slot.back()
            raise ResultTimeout(f"{_named(target)} had not finished within {limit:g} s: {error}") from error
        if found.outcome in ("d", "f"):
            return found
        left = until - time.monotonic()
        if left <= 0:
            await slot.back()
            raise ResultTimeout(f"{_named(target)} had not finished within {limit:g} s")
        slot.leave()
        if waiter is not None and waiter.is_alive:
            await _told(waiter, node, left)
            waiter = None  # a node that has grafted is open until what it has grafted has finished
            continue
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_WAIT)


async def _told(waiter: Waiter, node: int, longest: float) -> None:
    """Wait until there is something to be seen, but no longer than so many seconds."""
    told = asyncio.Event()
    wait = Wait(node, with_retries=True, told=lambda _: told.set())
    waiter.add([wait])
    try:
        async with asyncio.timeout(longest):
            await told.wait()
    except TimeoutError:
        pass
    finally:
        waiter.remove([wait])


def _opened_text(plain: Connection, *, node: int, text: str) -> str:
    """The value of a node, in which what encrypted workers have recorded is decrypted, by the name of each."""
    return json.dumps(_opened(plain, node, json.loads(text)))


def _opened(plain: Connection, node: int, value: Any) -> Any:
    if value is None:
        return None
    if (worker := recorder_of.execute(plain, node=node).scalar()) is not None:
        return opened_value(worker, value)
    parts = parts_of.execute(plain, node=node).all()
    if parts and parts[0].is_map:
        return [_opened(plain, part.node, one) for part, one in zip(parts, value, strict=False)]
    return _opened(plain, parts[0].node, value) if parts else value


def _read(target: Target, text: str) -> Any:
    """A value from its JSON, as the function declares it that has returned it, where that is known."""
    if isinstance(target, JobSpec | int):
        return json.loads(text)
    if isinstance(target, Workflow):
        node = target.returned
        return json.loads(text) if node is None else _read(node, text)
    if target.sub is None:
        if not target.is_fan_out:
            return _read_of(target.spec, text)
        return [_read_of(target.template_spec, json.dumps(one)) for one in json.loads(text)]
    if isinstance(target, Nodes):
        items: list[Any] = json.loads(text)
        return [_read(node, json.dumps(one)) for node, one in zip(target.sub.nodes.values(), items, strict=True)]
    return _read(target.sub, text)


def _read_of(spec: JobSpec[Any] | None, text: str) -> Any:
    worker = worker_of(spec)
    if spec is None or worker is None or worker.arguments is None or worker.arguments.returned.declares_flow:
        return json.loads(text)
    return None if text == "null" else worker.arguments.returned.read(text)


def edge(target: Target) -> int:
    """The number under which the end of `target` is known: of a workflow, its id below zero.

    :raises InvalidOption: for one that is not written.
    """
    if isinstance(target, int):
        return target
    sub = target if isinstance(target, Workflow) else None if isinstance(target, JobSpec) else target.sub
    found = target.id if sub is None else sub.id
    if found is None:
        raise InvalidOption(f"result: {target!r} is not written: commit its session first")
    return found if sub is None else -found


def _failure(target: Target, failed: Any) -> Exception:
    what = _named(target)
    if failed is None:
        return JobCancelled(f"{what} was deleted", 0)
    said = gist(failed.error)
    last = f": {said[:500]}" if said else ""
    name = f"{failed.node_name!r} " if failed.node_name else ""
    if failed.state == "discarded":
        return JobDiscarded(f"{what}: {name}(job {failed.id}) failed for good{last}", failed.id, failed.error or "")
    return JobCancelled(f"{what}: {name}(job {failed.id}) was cancelled{last}", failed.id)


def _named(target: Target) -> str:
    return f"job {target}" if isinstance(target, int) else repr(target)
