"""Jobs that child processes run, with instances that these load."""

from __future__ import annotations

import os
from typing import Annotated, Any

from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

from oban_sqla import injected, job
from tests.instances.models import Order

URL = os.environ.get("OBAN_TEST_CHILD_URL", "postgresql+asyncpg://nowhere")
Sessions = async_sessionmaker(create_async_engine(URL, poolclass=NullPool))
"""The sessionmaker that the children find by its name."""

WithLines = Annotated[Order, selectinload(Order.lines)]


@job(executor="process", queue="alone", recorded=True)
def in_child(order: WithLines) -> list[int]:
    return [order.id, len(order.lines)]


@job(executor="process", queue="alone", recorded=True)
async def in_child_later(order: WithLines) -> list[int]:
    return [order.id, len(order.lines)]


@job(executor="process", queue="children", recorded=True)
async def in_child_with_session(order: Order, session: AsyncSession = injected()) -> list[Any]:
    return [order.id, order in session]
