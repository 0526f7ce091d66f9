"""The shop's pages, with its jobs and their dashboard in the same process.

Run it with::

    export DATABASE_URL=postgresql://localhost/shop
    oban-sqla migrate
    uvicorn examples.shop.pages:app

The orders are at ``/docs``, the jobs at ``/jobs``. Without ``WAREHOUSE_URL`` and ``SMTP_SERVER`` the jobs that need
them fail, and are tried again.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from oban_sqla.web import Access, dashboard

from .main import Session, engine, oban
from .models import Base, Order
from .orders import in_trouble, pay, place_order


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with oban:
        yield
    await engine.dispose()


app = FastAPI(title="Shop", lifespan=lifespan)
# Anyone may look. Who may change jobs is for your login to say.
app.mount("/jobs", dashboard(oban, authorize=lambda _request: Access.READ))


async def transaction() -> AsyncGenerator[AsyncSession]:
    """One transaction a request. It commits before the answer is sent."""
    async with Session.begin() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]


class Basket(BaseModel):
    email: str
    articles: dict[str, Decimal] = Field(min_length=1)


@app.post("/orders", status_code=201)
async def place(basket: Basket, session: Transaction) -> dict[str, int]:
    order = await place_order(session, basket.email, basket.articles)
    return {"id": order.id}


@app.get("/orders/{order_id}")
async def look(order_id: int, session: Transaction) -> dict[str, Any]:
    order = await session.get(Order, order_id, options=[selectinload(Order.jobs)])
    if order is None:
        raise HTTPException(404, "there is no such order")
    return {"paid_at": order.paid_at, "jobs": {job.worker.rpartition(".")[2]: job.state for job in order.jobs}}


@app.post("/orders/{order_id}/payment", status_code=204)
async def paid(order_id: int, session: Transaction) -> None:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "there is no such order")
    pay(order)


@app.get("/trouble")
async def trouble(session: Transaction) -> list[int]:
    """The orders that need a person, because a job of theirs has failed for good."""
    return [order.id for order in await in_trouble(session)]
