"""What jobs tell: ``python -m benchmarks.streams [--only PART …] [--events 50000] [--lines 100000] [--rows 100000]
[--rounds 3]``. The parts: events, readers, logs, progress, pruning.

Prints how many events one job writes a second; whether three readers that reconnect at random get each of 10,000 events
of two attempts once and in order; the speed of a job that logs, with its log kept and without; how often
progress is written at full speed; and how fast jobs with rows beside them are pruned, compared with plain ones in the
same rounds, of which one in ten has such rows, and all have.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import time

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.setting import Setting, median, setting
from oban_sqla import JobLogs, Oban, Prune, current_job, emit, job, progress
from oban_sqla.runtime.duties.pruner import Pruner
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.refusals import Refusals

EVENTS_GOAL = 5_000
LOGS_GOAL = 0.9
PRUNING_GOAL = 0.8
TABLES = ("oban_jobs", "oban_events", "oban_progress", "oban_steps", "oban_signals")
LAST: dict[str, float] = {}

FORMATS = {
    "its program writes time, level and name": "%(asctime)s %(levelname)s %(name)s: %(message)s",
    "its program writes bare messages": None,
}
"""How the program's own handler formats a line: the time that a line takes without this package."""

logger = logging.getLogger("benchmarks.streams")

HISTORY = """
    INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_by, attempted_at, completed_at)
    SELECT 'bench.noop', 'bench', 'completed', 1, '{node,uuid}', at, at
    FROM (SELECT timezone('UTC', now()) - interval '1 day' - n * interval '1 millisecond' AS at
          FROM generate_series(1, $1::int) n) history
"""
BESIDE = (
    "INSERT INTO oban_steps (job_id, name) SELECT id, 'step' FROM oban_jobs WHERE id % $1::int = 0",
    'INSERT INTO oban_events (job_id, n, value) SELECT id, n, \'{"token": "word"}\' '
    "FROM oban_jobs, generate_series(1, 2) n WHERE id % $1::int = 0",
)


@job(name="bench.emits", queue="bench")
async def emits(count: int) -> None:
    began = time.perf_counter()
    for number in range(count):
        await emit({"token": "word", "number": number})
    LAST["emit"] = time.perf_counter() - began


@job(name="bench.twice", queue="bench", backoff=0)
async def twice(count: int) -> None:
    """Emit the first half and fail; and the second half in the next attempt."""
    half, is_first = count // 2, current_job().attempt == 1
    for number in range(1, half + 1) if is_first else range(half + 1, count + 1):
        await emit({"token": "word", "number": number})
    if is_first:
        raise RuntimeError("after half of its events")


@job(name="bench.logs", queue="bench")
def logs(count: int) -> None:
    """Logs beside a little work, as a program does whose log is formatted and written anyway."""
    began, cpu = time.perf_counter(), time.thread_time()
    for number in range(count):
        logger.info("line %d of %d", number, count)
    LAST["log"] = time.perf_counter() - began
    LAST["cpu"] = time.thread_time() - cpu


@job(name="bench.progress", queue="bench")
async def tells(seconds: float) -> None:
    until, calls = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        calls += 1
        await progress(calls)
        await asyncio.sleep(0.001)
    LAST["calls"] = calls


async def empty(where: Setting) -> None:
    await where.raw.execute(f"TRUNCATE {', '.join(TABLES)}")


async def events(where: Setting, count: int) -> float:
    """Events a second, from the first one to the end of the job, when all are written."""
    await empty(where)
    async with Oban(where.engine, {"bench": 1}, prune=None) as oban:
        began = time.perf_counter()
        [spec] = await oban.enqueue(emits.new(count))
        await oban.result(spec, timeout=600)
        took = time.perf_counter() - began
    assert await where.raw.fetchval("SELECT count(*) FROM oban_events") == count
    return count / took


async def reread(where: Setting, count: int) -> list[bool]:
    """Whether each of three readers, of which one is not on a started node, has got every event once, in order."""
    await empty(where)
    elsewhere = create_async_engine(where.url)

    async def reader(oban: Oban, job_id: int) -> bool:
        got: list[tuple[int, int]] = []
        while len(got) < count:
            most = random.randint(1, 700)
            async for number, value in oban.stream(job_id, after=got[-1][0] if got else 0):
                got.append((number, value["number"]))
                most -= 1
                if not most:
                    break
            else:
                break  # it has ended
        return got == [(number, number) for number in range(1, count + 1)]

    async with Oban(where.engine, {"bench": 1}, prune=None) as oban, Oban(elsewhere, prune=None) as other:
        [spec] = await oban.enqueue(twice.new(count))
        assert spec.id is not None
        readers = await asyncio.gather(*(reader(one, spec.id) for one in (oban, other, Oban(elsewhere))))
    await elsewhere.dispose()
    return readers


async def logged(where: Setting, count: int, kept: JobLogs | None) -> float:
    """Lines a second."""
    await empty(where)
    async with Oban(where.engine, {"bench": 1}, prune=None, job_logs=kept) as oban:
        [spec] = await oban.enqueue(logs.new(count))
        await oban.result(spec, timeout=600)
        if kept is not None:
            lines = await oban.logs(spec)
            assert (len(lines), lines[-1].number) == (kept.most, count)
    return count / LAST["log"]


async def noted(where: Setting, seconds: float) -> tuple[float, int]:
    """Calls a second, and how often the row was written."""
    await empty(where)
    statistics = "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'oban_progress'"
    await where.raw.execute("SELECT pg_stat_reset_single_table_counters('oban_progress'::regclass)")
    async with Oban(where.engine, {"bench": 1}, prune=None) as oban:
        [spec] = await oban.enqueue(tells.new(seconds))
        await oban.result(spec, timeout=600)
    assert await where.raw.fetchval("SELECT done FROM oban_progress") == LAST["calls"]
    await asyncio.sleep(1.5)  # the server counts late
    return LAST["calls"] / seconds, int(await where.raw.fetchval(statistics))


async def pruned(where: Setting, rows: int, every: int | None) -> float:
    """Jobs pruned a second, of which one in `every` has three rows beside it."""
    await empty(where)
    await where.raw.execute(HISTORY, rows, timeout=600)
    if every is not None:
        for statement in BESIDE:
            await where.raw.execute(statement, every, timeout=600)
    await where.raw.execute(f"VACUUM ANALYZE {', '.join(TABLES)}", timeout=600)
    await where.raw.execute("CHECKPOINT")
    async with Oban(where.engine, prune=None) as oban:
        node = oban._node
        assert node is not None
        lane = Lane(Line(where.engine, pooled=False), "pruning")
        pruner = Pruner(lane=lane, leadership=node.leadership, prune=Prune(max_age=3600), refusals=Refusals())
        pauses: list[float] = []

        async def at_once(delay: float) -> None:
            pauses.append(delay)

        pruner._until_stopped = at_once  # type: ignore[method-assign]  # no pauses between its statements
        began = time.perf_counter()
        await pruner.step()
        took = time.perf_counter() - began
    left = [await where.raw.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]
    assert left == [0] * len(TABLES), f"something was left behind: {left}"
    return rows / took


async def show_events(where: Setting, given: argparse.Namespace) -> None:
    rates = [await events(where, given.events) for _ in range(given.rounds)]
    print(f"events of one job: {median(rates):,.0f} a second (goal: {EVENTS_GOAL:,})", flush=True)


async def show_readers(where: Setting, given: argparse.Namespace) -> None:
    print(f"three readers of two attempts' events: {await reread(where, 10_000)} (goal: all True)", flush=True)


async def show_logs(where: Setting, given: argparse.Namespace) -> None:
    logging.getLogger().addHandler(file := logging.FileHandler("/dev/null"))
    logger.setLevel(logging.INFO)
    for what, text in FORMATS.items():
        file.setFormatter(logging.Formatter(text))
        ratios: list[float] = []
        for _ in range(given.rounds):
            plain = await logged(where, given.lines, None)
            ratios.append(await logged(where, given.lines, JobLogs()) / plain)
        said = f"a job that logs {given.lines:,} lines, {what}: {median(ratios):.2f} of its speed"
        print(f"{said} (goal: {LOGS_GOAL})", flush=True)


async def show_progress(where: Setting, given: argparse.Namespace) -> None:
    calls, writes = await noted(where, 5.0)
    print(f"progress at {calls:,.0f} calls a second for 5 s: written {writes} times", flush=True)


async def show_pruning(where: Setting, given: argparse.Namespace) -> None:
    tenth: list[float] = []
    every: list[float] = []
    for _ in range(given.rounds):
        plain = await pruned(where, given.rows, None)
        tenth.append(await pruned(where, given.rows, 10) / plain)
        every.append(await pruned(where, given.rows, 1) / plain)
        print(f"pruned {plain:,.0f} plain jobs a second", flush=True)
    print(f"pruning, one job in ten with three rows: {median(tenth):.2f} of plain (goal: {PRUNING_GOAL})", flush=True)
    print(f"pruning, every job with three rows: {median(every):.2f} of plain", flush=True)


PARTS = {
    "events": show_events,
    "readers": show_readers,
    "logs": show_logs,
    "progress": show_progress,
    "pruning": show_pruning,
}


async def main(given: argparse.Namespace) -> None:
    async with setting() as where:
        for part in given.only:
            await PARTS[part](where, given)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*PARTS], choices=PARTS, metavar="PART")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args()))
