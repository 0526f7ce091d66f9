"""Waiting for what a workflow, or a node of one, returns.

On a started node its waiter says when it is time to look; elsewhere each call looks again and again, as for jobs.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption, JobCancelled, JobDiscarded, ResultTimeout
from ..models import Workflow
from ..models.node import Node
from ..options.duration import seconds
from ..runtime.waiter import FIRST_WAIT, LONGEST_WAIT, Wait, Waiter
from ..statements.flows import first_failure, outcome_of
from .slot import Slot


async def flow_result(
    engine: AsyncEngine, target: Workflow | Node[Any], timeout: float, waiter: Waiter | None = None
) -> Any:
    """Wait until a workflow or a node has finished, and return its result.

    :param waiter: of the node of this process. Default: there is none.
    :raises ResultTimeout: if it has not finished in time.
    :raises JobDiscarded: if it failed.
    :raises JobCancelled: if it was cancelled.
    :raises InvalidOption: for one that is not written.
    """
    node = _edge(target)
    slot = Slot()
    try:
        found = await _finished(engine, node, target, timeout, slot, waiter)
        await slot.back()
    finally:
        slot.close()
    if found.outcome == "d":
        return None if found.value is None else json.loads(found.value)
    async with engine.connect() as connection:
        failed: Any = (await connection.run_sync(lambda plain: first_failure.execute(plain, node=node))).first()
    raise _failure(target, failed)


async def _finished(
    engine: AsyncEngine, node: int, target: Workflow | Node[Any], timeout: float, slot: Slot, waiter: Waiter | None
) -> Any:
    until = time.monotonic() + seconds(timeout, "result(timeout)")
    pause = FIRST_WAIT
    while True:
        async with engine.connect() as connection:
            found: Any = (await connection.run_sync(lambda plain: outcome_of.execute(plain, node=node))).one()
        if found.outcome in ("d", "f"):
            return found
        left = until - time.monotonic()
        if left <= 0:
            await slot.back()
            raise ResultTimeout(f"{target!r} had not finished within {timeout:g} s")
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


def _edge(target: Workflow | Node[Any]) -> int:
    sub = target if isinstance(target, Workflow) else target.sub
    found = target.id if sub is None else sub.id
    if found is None:
        raise InvalidOption(f"result: {target!r} is not written: commit its session first")
    return found if sub is None else -found


def _failure(target: Workflow | Node[Any], failed: Any) -> Exception:
    if failed is None:
        return JobCancelled(f"{target!r} was deleted", 0)
    lines = (failed.error or "").strip().splitlines()
    last = f": {lines[-1][:500]}" if lines else ""
    name = f"{failed.node_name!r} " if failed.node_name else ""
    if failed.state == "discarded":
        return JobDiscarded(f"{target!r}: {name}(job {failed.id}) failed for good{last}", failed.id, failed.error or "")
    return JobCancelled(f"{target!r}: {name}(job {failed.id}) was cancelled{last}", failed.id)
