"""Enqueueing by a node, in a transaction apart from any session of the user's."""

from __future__ import annotations

from collections.abc import Iterable

from ..enqueueing.enqueue import enqueue
from ..models import JobSpec
from ..runtime.inserts import are_plain
from ..runtime.node import Node
from .engines import Engines


async def enqueue_apart(
    engines: Engines, node: Node | None, specs: JobSpec | Iterable[JobSpec], more: Iterable[JobSpec]
) -> list[JobSpec]:
    """Write `specs`: a few plain ones in one round trip of the node that runs here, others in a session.

    :param node: the started node; None before its start and after its stop.
    """
    # Another list than the caller's, which may change while the jobs are written; an iterator is not read here.
    several = [specs] if isinstance(specs, JobSpec) else specs
    few = [*several, *more] if isinstance(several, list | tuple) else []
    if node is not None and node.runs_here and node.notify == "auto" and are_plain(few):
        await node.inserts.insert(few)
        return few
    async with engines.transaction() as session:
        return await enqueue(session, specs, *more)
