"""``python -m benchmarks.idle [NODES] [QUEUES]``: the statements that idle nodes send, by kind. Defaults: 25 and 20.

The nodes are runtimes of one process, each with its own connections, leases and heartbeats.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import Oban, embedded, migrations
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.statements.statement import Statement

GOAL = 1.5
SECONDS = 60.0


async def main(nodes: int, queues: int) -> bool:
    counted: Counter[str] = Counter()
    run = Lane.run

    async def counting(lane: Lane, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        counted[statement.name] += 1
        return await run(lane, statement, **parameters)

    async with embedded.start(settings={"max_connections": 10 * nodes + 20}) as server, AsyncExitStack() as stack:
        engine = create_async_engine(server.url)
        stack.push_async_callback(engine.dispose)
        await migrations.migrate(engine)
        limits = {f"queue {number}": 5 for number in range(queues)}
        for number in range(nodes):
            await stack.enter_async_context(Oban(engine, queues=limits, node=f"node {number}"))
        await asyncio.sleep(65)  # the first minute ends with a look at what the first fetches may have taken unheard
        Lane.run = counting  # type: ignore[method-assign]
        await asyncio.sleep(SECONDS)
        Lane.run = run  # type: ignore[method-assign]
    for name, count in counted.most_common():
        print(f"{name:<20} {count / SECONDS / nodes:6.3f}")
    each = counted.total() / SECONDS / nodes
    print(f"\nstatements a second a node, {nodes} nodes of {queues} queues: {each:.2f}   ≤ {GOAL}")
    return each <= GOAL


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(0 if asyncio.run(main(*(given + [25, 20][len(given) :]))) else 1)
