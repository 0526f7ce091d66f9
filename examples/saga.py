"""An order as a saga: when a step fails for good, what was done before is taken back. ``python -m examples.saga``."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from oban_sqla import Discard, Oban, Workflow, embedded, job, migrations

did: list[str] = []
"""What has happened."""


@job(queue="orders")
async def reserve(order: int) -> str:
    did.append(f"reserved {order}")
    return f"reservation-{order}"


@job(queue="orders")
async def charge(order: int, cents: int) -> str:
    if cents > 100_00:
        raise Discard("the card was refused")
    did.append(f"charged {order}")
    return f"payment-{order}"


@job(queue="orders")
async def ship(order: int, reservation: str, payment: str) -> None:
    did.append(f"shipped {order} for {payment} from {reservation}")


@job(queue="orders")
async def undo(order: int, reservation: str, payment: str | None) -> None:
    """Runs whatever became of the steps. A step that failed has no result: None is given for it."""
    if payment is None:
        did.append(f"released {reservation}")


def order_flow(order: int, cents: int) -> Workflow:
    flow = Workflow("order", unique=f"order {order}")
    reserved = flow.add(reserve.new(order))
    charged = flow.add(charge.new(order, cents), after=[reserved])
    flow.add(ship.new(order, reserved.result, charged.result))
    flow.add(undo.new(order, reserved.result, charged.result), on_failure="ignore")
    return flow


async def run(engine: AsyncEngine) -> list[str]:
    """One order that goes through, and one whose card is refused."""
    did.clear()
    good, bad = order_flow(1, 20_00), order_flow(2, 200_00)
    async with Oban(engine, queues={"orders": 1}):
        async with async_sessionmaker(engine).begin() as session:
            session.add_all([good, bad])
        async with async_sessionmaker(engine)() as session:
            for flow in (good, bad):
                while (await session.get_one(Workflow, flow.id, populate_existing=True)).state == "executing":
                    await asyncio.sleep(0.05)
                    await session.rollback()
    return did


async def main() -> None:
    """Run it on a PostgreSQL that is started for it."""
    async with embedded.start() as server:
        engine = create_async_engine(server.url)
        await migrations.migrate(engine)
        print("\n".join(await run(engine)))
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
