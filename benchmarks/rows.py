"""What is measured, one function a row; each returns figures of one interleaved pair."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

import benchmarks.setting as shared
from benchmarks import loop
from benchmarks.setting import Setting, median, noop, timed
from oban_sqla import JobSpec, Oban, Queue, enqueue, job

Figures = dict[str, float]

begun: asyncio.Queue[float] = asyncio.Queue()


@job(name="bench.stamp", queue="bench")
async def stamp() -> None:
    begun.put_nowait(loop.clock())


async def _drained(setting: Setting, jobs: int, done: int) -> None:
    while shared.count < done:
        await asyncio.sleep(0.002)
    sql = "SELECT NOT EXISTS (SELECT FROM oban_jobs WHERE state = 'executing')"
    while not await setting.raw.fetchval(sql):
        await asyncio.sleep(0.002)


async def drain(
    setting: Setting, concurrency: int, jobs: int = 20_000, prefetch: int = 0, empty: bool = True
) -> Figures:
    """Jobs a second of one process, with what they cost."""
    figures: Figures = {}
    for side in ("loop", "ours"):
        if empty:
            await setting.empty()
        await loop.insert_many(setting.raw, "bench.noop", "bench", jobs)
        await setting.raw.execute("ANALYZE oban_jobs")
        before = await setting.committed()
        if side == "loop":
            connection = await loop.connect(setting.url)
            wall, cpu = await timed(lambda: loop.drain(connection, "bench", concurrency, noop))
            await connection.close()
        else:
            queue = Queue(concurrency, prefetch=prefetch) if prefetch else Queue(concurrency)
            oban = Oban(setting.engine, queues={"bench": queue}, poll_interval=60)
            target = shared.count + jobs
            begun, cpu = time.perf_counter(), time.process_time()
            await oban.start()
            await _drained(setting, jobs, target)
            wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
            await oban.stop()
        figures[side] = jobs / wall
        figures[f"cpu_{side}"] = cpu / jobs * 1e6
        figures[f"commits_{side}"] = (await setting.committed() - before) / jobs
    figures["ratio"] = figures["ours"] / figures["loop"]
    figures["cpu_above"] = figures["cpu_ours"] - figures["cpu_loop"]
    return figures


async def drain_two(setting: Setting, concurrency: int = 50, jobs: int = 40_000) -> Figures:
    """Jobs a second of two processes."""
    figures: Figures = {}
    for side in ("loop", "ours"):
        await setting.empty()
        await loop.insert_many(setting.raw, "bench.noop", "bench", jobs)
        await setting.raw.execute("ANALYZE oban_jobs")
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.process", side, setting.url, str(concurrency),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None
            await process.stdout.readline()
        begun = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        sql = "SELECT NOT EXISTS (SELECT FROM oban_jobs WHERE state IN ('available', 'executing'))"
        while not await setting.raw.fetchval(sql):
            await asyncio.sleep(0.01)
        figures[side] = jobs / (time.perf_counter() - begun)
        for process in processes:
            process.kill()
            await process.wait()
    figures["ratio"] = figures["ours"] / figures["loop"]
    return figures


async def drain_with_history(setting: Setting, finished: int = 1_000_000, scheduled: int = 200_000) -> Figures:
    """Our drain beside a large history, against our drain of a table without one."""
    without = await drain(setting, 50)
    await setting.empty()
    await setting.raw.execute(
        "INSERT INTO oban_jobs (worker, queue, state, completed_at, attempt) "
        "SELECT 'bench.noop', 'bench', 'completed', timezone('UTC', now()), 1 FROM generate_series(1, $1::int)",
        finished,
    )
    await setting.raw.execute(
        "INSERT INTO oban_jobs (worker, queue, state, scheduled_at) "
        "SELECT 'bench.noop', 'bench', 'scheduled', timezone('UTC', now()) + interval '1 day' "
        "FROM generate_series(1, $1::int)",
        scheduled,
    )
    await setting.raw.execute("VACUUM ANALYZE oban_jobs")
    beside = await drain(setting, 50, empty=False)
    await setting.empty()
    return {"empty": without["ours"], "beside": beside["ours"], "ratio": beside["ours"] / without["ours"]}


async def insert_single(setting: Setting, rounds: int = 30, each: int = 50) -> Figures:
    """One job in a transaction, one after the other, by the runtime of an application; beside it in turns, the same on
    a connection. Both have warmed up: an application starts once."""
    await setting.empty()
    taken: dict[str, list[float]] = {"loop": [], "ours": []}
    async with Oban(setting.engine) as oban:

        async def ours() -> None:
            for number in range(each):
                await oban.enqueue(JobSpec("bench.noop", {"number": number}, queue="bench"))

        async def raw() -> None:
            for number in range(each):
                await setting.raw.fetch(loop.INSERT, "bench.noop", "bench", f'{{"number": {number}}}')

        for _ in range(rounds):
            for side, insert in (("loop", raw), ("ours", ours)):
                taken[side].append((await timed(insert))[0])
    figures: Figures = {side: each / median(walls[rounds // 10 :]) for side, walls in taken.items()}
    return {**figures, "ratio": figures["ours"] / figures["loop"]}


async def insert_bulk(setting: Setting, jobs: int = 20_000) -> Figures:
    """Many jobs in one transaction, by `enqueue`."""
    await setting.empty()

    async def ours(_oban: Oban) -> None:
        async with setting.session.begin() as session:
            await enqueue(session, [JobSpec("bench.noop", {"number": n}, queue="bench") for n in range(jobs)])

    return await _inserted(setting, jobs, ours, lambda: loop.insert_many(setting.raw, "bench.noop", "bench", jobs))


async def insert_add_all(setting: Setting, jobs: int = 20_000) -> Figures:
    """Many jobs in one transaction, by `session.add_all`."""
    await setting.empty()

    async def ours(_oban: Oban) -> None:
        async with setting.session.begin() as session:
            session.add_all([JobSpec("bench.noop", {"number": n}, queue="bench") for n in range(jobs)])

    return await _inserted(setting, jobs, ours, lambda: loop.insert_many(setting.raw, "bench.noop", "bench", jobs))


async def _inserted(setting: Setting, jobs: int, ours: Any, raw: Any) -> Figures:
    raw_wall, _ = await timed(raw)
    # The application's own runtime, without queues: it tells the cluster after the commits.
    async with Oban(setting.engine) as oban:
        wall, _ = await timed(lambda: ours(oban))
    return {"loop": jobs / raw_wall, "ours": jobs / wall, "ratio": raw_wall / wall}


async def insert_concurrent(setting: Setting, tasks: int = 16, each: int = 150) -> Figures:
    """Sixteen tasks inserting in an application with a started runtime and a listening node, against notify="off"."""
    figures: Figures = {}

    async def insert() -> None:
        for number in range(each):
            async with setting.session() as session:
                session.add(JobSpec("bench.noop", {"number": number}, queue="elsewhere"))
                await session.commit()

    async with Oban(setting.engine, queues={"listening": 1}):
        for notify in ("off", "auto"):
            await setting.empty()
            async with Oban(setting.engine, notify=notify):
                wall, _ = await timed(lambda: asyncio.gather(*(insert() for _ in range(tasks))))
            figures[notify] = tasks * each / wall
    figures["ratio"] = figures["auto"] / figures["off"]
    return figures


async def latency(setting: Setting, jobs: int = 200, other_process: bool = False) -> Figures:
    """Milliseconds from before the commit to the first line of the job, one job after the other, at the median."""
    figures: Figures = {}
    await setting.empty()
    async with loop.Listening(setting.url, stamp):

        async def raw() -> float:
            transaction = setting.raw.transaction()
            await transaction.start()
            await setting.raw.fetch(loop.INSERT, "bench.stamp", "bench", "{}")
            await setting.raw.execute("SELECT pg_notify('bench', '')")
            before = loop.clock()
            await transaction.commit()
            return before

        figures["loop"] = await _latencies(jobs, raw)

    async def ours() -> float:
        async with setting.session() as session:
            session.add(stamp.new())
            await session.flush()
            before = loop.clock()
            await session.commit()
            return before

    async with _runtime(setting, other_process):
        figures["ours"] = await _latencies(jobs, ours)
    figures["ratio"] = figures["ours"] / figures["loop"]
    return figures


@asynccontextmanager
async def _runtime(setting: Setting, other_process: bool) -> AsyncGenerator[None]:
    if not other_process:
        async with Oban(setting.engine, queues={"bench": 10}):
            yield
        return
    # The commit tells the runtime whose pool it used, which has no queues and notifies; the one that works hears of it
    # as a runtime of another process would.
    apart = create_async_engine(setting.url)
    async with Oban(apart, queues={"bench": 10}), Oban(setting.engine):
        yield
    await apart.dispose()


async def _latencies(jobs: int, insert: Callable[[], Awaitable[float]]) -> float:
    taken: list[float] = []
    for _ in range(jobs):
        before = await insert()
        taken.append(await begun.get() - before)  # a loop that spins meanwhile would keep the server from its core
        await asyncio.sleep(0.02)  # an idle queue: one that is not waits up to 10 ms for the next notification
    return median(taken[jobs // 10 :]) * 1e3


async def lateness(setting: Setting, jobs: int = 20) -> Figures:
    """Milliseconds that scheduled jobs start after their time: median, least and most."""
    await setting.empty()
    async with Oban(setting.engine, queues={"bench": 20}):
        for number in range(jobs):
            async with setting.session() as session:
                session.add(noop.options(schedule_in=0.3 + number * 0.037).new(number=number))
                await session.commit()
        while await setting.raw.fetchval("SELECT count(*) FROM oban_jobs WHERE state <> 'completed'"):
            await asyncio.sleep(0.05)
    late = await setting.raw.fetch("SELECT extract(epoch FROM attempted_at - scheduled_at)::float8 AS s FROM oban_jobs")
    values = [row["s"] * 1e3 for row in late]
    return {"median": median(values), "least": min(values), "most": max(values)}


_TIMED = "import time; began = time.perf_counter(); import {}; print((time.perf_counter() - began) * 1e3)"


async def imported(_setting: Setting) -> Figures:
    """Milliseconds to import oban_sqla in a new process, beside what an application imports anyway."""
    theirs, own = [
        await _in_a_new_process("-c", _TIMED.format(what))
        for what in ("sqlalchemy.ext.asyncio, asyncpg, pydantic", "oban_sqla")
    ]
    return {"loop": theirs, "ours": own, "ratio": own / theirs}


async def started(setting: Setting) -> Figures:
    """Milliseconds to start a node in a new process, and from there to the first line of a job that waits."""
    await setting.empty()
    await setting.raw.fetch(loop.INSERT, "bench.first", "bench", '{"number": 1}')
    figures: Figures = await _in_a_new_process("-m", "benchmarks.start", setting.url)
    return figures


async def memory(setting: Setting, jobs: int = 20_000) -> Figures:
    """MB of a node's process after so many jobs."""
    await setting.empty()
    await loop.insert_many(setting.raw, "bench.counted", "bench", jobs)
    await setting.raw.execute("ANALYZE oban_jobs")
    figures: Figures = await _in_a_new_process("-m", "benchmarks.memory", setting.url, str(jobs))
    return figures


async def _in_a_new_process(*arguments: str) -> Any:
    """What a new interpreter prints, as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=_with_bytecode()
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(said)


@cache
def _with_bytecode() -> dict[str, str]:
    """An environment in which modules are compiled, as those of an installed program are."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "PYTHONPYCACHEPREFIX": directory.name}
    subprocess.run([sys.executable, "-c", "import asyncpg, pydantic, oban_sqla"], env=environment, check=True)
    return environment


async def at_rest(setting: Setting, queues: int = 20, seconds: float = 15.0) -> Figures:
    """Statements a second of an idle node."""
    await setting.empty()
    async with Oban(setting.engine, queues={f"q{number}": 5 for number in range(queues)}):
        await asyncio.sleep(12)  # a backend reports what it has committed after ten idle seconds: the start is over
        before = await setting.committed()
        await asyncio.sleep(seconds)
        after = await setting.committed()
    return {"statements": (after - before - 2) / seconds}
