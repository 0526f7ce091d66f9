"""A node of oban-py, in its own environment: knows nothing of this package. Takes commands as lines of JSON."""
# pyright: basic, reportMissingImports=false
# mypy: ignore-errors
# oban-py is not installed where types are checked.

import asyncio
import json
import sys

from oban import Job, Oban, worker  # type: ignore[import-not-found]
from psycopg_pool import AsyncConnectionPool  # type: ignore[import-not-found]


@worker(queue="theirs")
class Theirs:
    async def process(self, job):  # type: ignore[no-untyped-def]
        await asyncio.sleep(job.args.get("seconds", 0))


async def main(conninfo: str) -> None:
    async with (
        AsyncConnectionPool(conninfo, open=False) as pool,
        Oban(pool=pool, queues={"theirs": 5}, node="oban-py", refresher={"interval": 0.5}) as oban,
    ):
        print(json.dumps("ready"), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            match json.loads(line):
                case ["enqueue", worker_name, queue]:
                    job = await oban.enqueue(Job(worker=worker_name, queue=queue, args={}))
                    print(json.dumps(job.id), flush=True)
                case ["leads"]:
                    print(json.dumps(oban.is_leader), flush=True)
                case ["pause", queue]:
                    await oban.pause_queue(queue)
                    print(json.dumps("done"), flush=True)
                case ["paused", queue]:
                    print(json.dumps(oban.check_queue(queue).paused), flush=True)


def run() -> None:
    asyncio.run(main(sys.argv[1]))
