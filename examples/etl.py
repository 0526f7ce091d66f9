"""Extract, transform, load: fan-out over what is found at run time, and fan-in. Run it: ``python -m examples.etl``."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from typing_extensions import TypedDict

from oban_sqla import Oban, Workflow, embedded, job, migrations


class Day(TypedDict):
    date: str
    orders: int


@job(queue="etl")
async def list_days(month: str) -> list[str]:
    return [f"{month}-{day:02}" for day in range(1, 29)]


@job(queue="etl", max_attempts=5)
async def extract(date: str, currency: str = "EUR") -> Day:
    return {"date": f"{date} {currency}", "orders": int(date[-2:])}


@job(queue="etl")
async def load(days: list[Day]) -> int:
    return sum(day["orders"] for day in days)


@job(queue="etl")
async def announce(month: str, total: int) -> str:
    return f"{month}: {total} orders"


def monthly(month: str) -> Workflow:
    """One live workflow per month: a second one that is added meanwhile is the first."""
    flow = Workflow("monthly", unique=f"monthly {month}", meta={"month": month})
    days = flow.add(list_days.new(month))
    extracted = flow.map(lambda date: extract.new(date, currency="USD"), over=days.result, name="extract")
    total = flow.add(load.new(extracted.results))
    flow.returns(flow.add(announce.new(month, total.result)))
    return flow


async def run(engine: AsyncEngine) -> str:
    """Add the workflow of a month, and wait for what it returns."""
    flow = monthly("2026-11")
    print(flow.mermaid())
    async with Oban(engine, queues={"etl": 10}) as oban:
        async with async_sessionmaker(engine).begin() as session:
            session.add(flow)
        said: str = await oban.result(flow, timeout=60)
        return said


async def main() -> None:
    """Run it on a PostgreSQL that is started for it."""
    async with embedded.start() as server:
        engine = create_async_engine(server.url)
        await migrations.migrate(engine)
        print(await run(engine))
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
