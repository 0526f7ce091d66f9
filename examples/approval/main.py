"""The application. Run it with ``uvicorn examples.approval.main:app``."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Oban, async_url

from .jobs import buy
from .models import Base, Purchase

engine = create_async_engine(async_url(os.environ["DATABASE_URL"]))
Session = async_sessionmaker(engine, expire_on_commit=False)
oban = Oban(engine, queues={"purchases": 10}, sessionmaker=Session)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with oban:
        yield
    await engine.dispose()


app = FastAPI(title="Purchases", lifespan=lifespan)


async def transaction() -> AsyncGenerator[AsyncSession]:
    """One transaction a request. It commits before the answer is sent."""
    async with Session.begin() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]


class Order(BaseModel):
    what: str
    euros: int
    hours: float = 48


class Answer(BaseModel):
    approved: bool
    by: str


@app.post("/purchases", status_code=201)
async def order(form: Order, session: Transaction) -> dict[str, Any]:
    """The purchase and its job, in one transaction."""
    purchase = Purchase(what=form.what, euros=form.euros)
    session.add(purchase)
    await session.flush()
    session.add(job := buy.new(purchase.id, hours=form.hours))
    await session.flush()
    purchase.job_id = job.id
    return {"id": purchase.id, "job_id": job.id}


@app.get("/purchases/{purchase_id}")
async def look(purchase_id: int, session: Transaction) -> dict[str, Any]:
    """How it is, and what its job does: ``oban-sqla why`` as JSON."""
    purchase = await session.get(Purchase, purchase_id)
    if purchase is None or purchase.job_id is None:
        raise HTTPException(404, "there is no such purchase")
    why = await oban.why(purchase.job_id)
    return {"what": purchase.what, "state": purchase.state, "job": why.reason}


@app.post("/purchases/{purchase_id}/answer")
async def answer(purchase_id: int, form: Answer, session: Transaction) -> dict[str, Any]:
    """The answer of a person, which wakes the job. It is sent with the commit of this request."""
    purchase = await session.get(Purchase, purchase_id)
    if purchase is None or purchase.job_id is None:
        raise HTTPException(404, "there is no such purchase")
    if not await oban.signal(purchase.job_id, "answer", form.model_dump(), session=session):
        raise HTTPException(409, "it was answered already")
    return {"sent": True}
