"""What jobs cost in the sessions of an application: beside rows of its own, and from there to the first line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks import loop
from benchmarks.rows import Figures, begun, stamp
from benchmarks.setting import Setting, median, noop
from oban_sqla import Oban

ROUNDS = 400


class Base(DeclarativeBase):
    """The application's."""


class Order(Base):
    """A row that an application writes anyway."""

    __tablename__ = "bench_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    lines: Mapped[dict[str, Any]] = mapped_column(JSON)


async def beside_a_row(setting: Setting) -> Figures:
    """Microseconds of `session.add`, commit: a spec, and a row of a plain mapped class."""

    async def transaction(made: object) -> None:
        async with setting.session() as session:
            session.add(made)
            await session.commit()

    return await _alternating(
        setting,
        loop=lambda number: transaction(Order(customer="bench", lines={"number": number})),
        ours=lambda number: transaction(noop.new(number=number)),
    )


async def added_to_a_transaction(setting: Setting) -> Figures:
    """Microseconds of a transaction that writes a row, without a job and with one; the figure is what is added."""

    async def transaction(number: int, *, with_job: bool) -> None:
        async with setting.session() as session:
            session.add(Order(customer="bench", lines={"number": number}))
            if with_job:
                session.add(noop.new(number=number))
            await session.commit()

    figures = await _alternating(
        setting,
        loop=lambda number: transaction(number, with_job=False),
        ours=lambda number: transaction(number, with_job=True),
    )
    return {**figures, "added": figures["ratio"] - 1}


async def _alternating(setting: Setting, **sides: Callable[[int], Awaitable[None]]) -> Figures:
    """The median of each side, one transaction of each in turn, in an application whose runtime is started."""
    await setting.empty()
    async with setting.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    taken: dict[str, list[float]] = {side: [] for side in sides}
    async with Oban(setting.engine):
        for number in range(ROUNDS):
            for side, transaction in sides.items():
                before = time.perf_counter()
                await transaction(number)
                taken[side].append((time.perf_counter() - before) * 1e6)
                await asyncio.sleep(0)  # the runtime tells the cluster of a job meanwhile, as it would
    figures: Figures = {side: median(values[ROUNDS // 10 :]) for side, values in taken.items()}
    return {**figures, "ratio": figures["ours"] / figures["loop"]}


async def latency(setting: Setting, jobs: int = 200) -> Figures:
    """Milliseconds from before `session.add` to the first line of the job, in one process; beside BEGIN, INSERT,
    NOTIFY, COMMIT and a loop that listens."""
    figures: Figures = {}
    await setting.empty()
    async with loop.Listening(setting.url, stamp):

        async def raw() -> float:
            before = loop.clock()
            async with setting.raw.transaction():
                await setting.raw.fetch(loop.INSERT, "bench.stamp", "bench", "{}")
                await setting.raw.execute("SELECT pg_notify('bench', '')")
            return before

        figures["loop"] = await _first_lines(jobs, raw)

    async def ours() -> float:
        before = loop.clock()
        async with setting.session() as session:
            session.add(stamp.new())
            await session.commit()
        return before

    async with Oban(setting.engine, queues={"bench": 10}):
        figures["ours"] = await _first_lines(jobs, ours)
    return {**figures, "ratio": figures["ours"] / figures["loop"]}


async def _first_lines(jobs: int, insert: Callable[[], Awaitable[float]]) -> float:
    taken: list[float] = []
    for _ in range(jobs):
        before = await insert()
        taken.append(await begun.get() - before)
        await asyncio.sleep(0.02)  # an idle queue
    return median(taken[jobs // 10 :]) * 1e3
