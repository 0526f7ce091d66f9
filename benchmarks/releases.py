"""What an upgrade of the package and its tables costs plain jobs: ``python -m benchmarks.releases [--before 4c9e487]``.

An earlier revision of the package, by default the last one before version 2 of the tables, and this one, each in a
process of its own, with a database of its own on one server. Both are used as an application does, and take turns.
Prints the speed of this one by that of the earlier one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

BEFORE = "4c9e487"
GOAL = 0.97
SINGLES, BULK, DRAINED, CONCURRENCY = 100, 20_000, 4_000, 20
HERE = Path(__file__).resolve().parent.parent


async def serve(url: str) -> None:
    """One of the sides: do what each line of the input names, and answer with its seconds."""
    from oban_sqla import Oban, enqueue, job, migrations

    ran: list[float] = []
    all_ran = asyncio.Event()

    @job(name="bench.noop", queue="bench")
    async def noop(number: int) -> None:
        ran.append(time.perf_counter())
        if len(ran) == DRAINED:
            all_ran.set()

    async def by_session(engine: AsyncEngine) -> float:
        began = time.perf_counter()
        for number in range(SINGLES):
            async with AsyncSession(engine) as session:
                session.add(noop.new(number=number))
                await session.commit()
        return time.perf_counter() - began

    async def one_by_one(engine: AsyncEngine) -> float:
        oban = Oban(engine, queues={})
        began = time.perf_counter()
        for number in range(SINGLES):
            await oban.enqueue(noop.new(number=number))
        return time.perf_counter() - began

    async def add_all(engine: AsyncEngine) -> float:
        began = time.perf_counter()
        async with AsyncSession(engine) as session, session.begin():
            session.add_all([noop.new(number=number) for number in range(BULK)])
        return time.perf_counter() - began

    async def bulk(engine: AsyncEngine) -> float:
        began = time.perf_counter()
        async with AsyncSession(engine) as session, session.begin():
            await enqueue(session, [noop.new(number=number) for number in range(BULK)])
        return time.perf_counter() - began

    async def drain(engine: AsyncEngine) -> float:
        """From the first job to the last one, so without the start."""
        async with AsyncSession(engine) as session, session.begin():
            await enqueue(session, [noop.new(number=number) for number in range(DRAINED)])
        ran.clear()
        all_ran.clear()
        async with Oban(engine, queues={"bench": CONCURRENCY}):
            await all_ran.wait()
        return ran[-1] - ran[0]

    work = {one.__name__: one for one in (by_session, one_by_one, add_all, bulk, drain)}
    engine = create_async_engine(url)
    await migrations.migrate(engine)
    print("ready", flush=True)
    while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("TRUNCATE oban_jobs"))
            await connection.execute(text("CHECKPOINT"))
        print(await work[name](engine), flush=True)
    await engine.dispose()


@asynccontextmanager
async def side(tree: Path, url: str) -> AsyncGenerator[Callable[[str], Awaitable[float]]]:
    """A process with the package of `tree`: a function that has it do what is named, and gives the seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", url,
        env=os.environ | {"PYTHONPATH": str(tree)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    sends, answers = process.stdin, process.stdout
    assert await answers.readline() == b"ready\n"

    async def ask(name: str) -> float:
        sends.write(f"{name}\n".encode())
        return float(await answers.readline())

    try:
        yield ask
    finally:
        sends.close()
        await process.wait()


async def compare(before: Path, pairs: int) -> bool:
    """Whether every figure reaches the goal."""
    from benchmarks.setting import median, setting

    rounds = {
        "by_session": (f"{SINGLES} transactions, each with a session.add", pairs * 4),
        "one_by_one": (f"{SINGLES} times oban.enqueue", pairs * 8),
        "add_all": (f"session.add_all of {BULK:,}", pairs),
        "bulk": (f"enqueue of {BULK:,}", pairs),
        "drain": (f"{DRAINED:,} jobs at a concurrency of {CONCURRENCY}", pairs * 2),
    }
    held = True
    async with setting() as where:
        await where.raw.execute("CREATE DATABASE bench_before")
        old_url = make_url(where.url).set(database="bench_before").render_as_string(hide_password=False)
        async with side(before, old_url) as old, side(HERE, where.url) as new:
            for name, (words, number) in rounds.items():
                times: dict[object, list[float]] = {old: [], new: []}
                for turn in range(number + 2):
                    for one in (old, new) if turn % 2 else (new, old):  # none is always the second one
                        spent = await one(name)
                        if turn >= 2:  # the first ones warm up
                            times[one].append(spent)
                ratio = median(times[old]) / median(times[new])
                held &= ratio >= GOAL
                least = min(times[old]) / min(times[new])
                print(f"{words}: {ratio:.3f} of the speed before (goal {GOAL}); by the fastest {least:.3f}", flush=True)
    return held


async def main(before: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        tree = Path(made, "before")
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), before], check=True)  # noqa: ASYNC221
        try:
            held = await compare(tree, pairs)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)  # noqa: ASYNC221
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="a revision of this repository")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    asyncio.run(serve(given.serve) if given.serve else main(given.before, given.pairs))
