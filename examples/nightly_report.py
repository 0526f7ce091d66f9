"""A nightly report with chunks and a batch, on a PostgreSQL of its own: ``python -m examples.nightly_report``."""

import asyncio
from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oban_sqla import Batch, Chunk, Job, Oban, embedded, job, migrations

SHOPS = 250
calls: Counter[str] = Counter()
done = asyncio.Event()


class Base(DeclarativeBase):
    pass


class Turnover(Base):
    __tablename__ = "turnovers"

    shop: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int]


@job(queue="night", chunk=Chunk(size=100, timeout=0.5))
async def sum_up(jobs: list[Job], session: AsyncSession) -> None:
    """One INSERT for a hundred shops; the commit completes their jobs."""
    calls["sum_up"] += 1
    session.add_all(Turnover(shop=each.args["shop"], cents=each.args["shop"] * 100) for each in jobs)


@job(queue="night")
async def report(batch: Batch, session: AsyncSession) -> None:
    """Enqueued once, when all shops are summed up."""
    total = await session.scalar(select(func.sum(Turnover.cents)))
    print(f"{batch.name}: {batch.counts}, {total} cents in {calls['sum_up']} calls")
    done.set()


async def main(url: str) -> None:
    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await migrations.migrate(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions.begin() as session:
        shops = (sum_up.new({"shop": shop}) for shop in range(SHOPS))
        session.add(Batch(shops, name="turnover of the day", on_completed=report.new()))
    async with Oban(engine, queues={"night": 2}, sessionmaker=sessions):
        await done.wait()
    await engine.dispose()


if __name__ == "__main__":
    with embedded.start() as server:
        asyncio.run(main(server.url))
