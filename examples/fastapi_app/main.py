"""The application. Run it with ``uvicorn examples.fastapi_app.main:app``."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Job, Oban, later

from .database import Session, engine
from .jobs import send_welcome, tell_crm
from .models import User


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    grace = float(os.environ.get("SHUTDOWN_GRACE", "15"))
    async with Oban(engine, queues={"mail": 10, "exports": 50}, sessionmaker=Session, shutdown_grace=grace):
        yield
    await engine.dispose()


app = FastAPI(title="Sign-ups", lifespan=lifespan)


async def transaction() -> AsyncGenerator[AsyncSession]:
    """One transaction a request. It commits before the answer is sent, and rolls back when the endpoint raises."""
    async with Session.begin() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]


class SignUp(BaseModel):
    email: str
    card: str = "4242"


class SignedUp(BaseModel):
    user_id: int
    job_ids: list[int]


@app.post("/users", status_code=201)
async def sign_up(form: SignUp, session: Transaction) -> SignedUp:
    """A user and two jobs, in one transaction."""
    user = User(email=form.email)
    welcome = send_welcome.new(user_id=later(lambda: user.id))
    crm = tell_crm.new(email=form.email)
    session.add_all([user, welcome, crm])
    try:
        await session.flush()  # here, because the answer names the ids
    except IntegrityError as error:
        raise HTTPException(409, "that address has signed up already") from error
    if form.card == "declined":
        raise HTTPException(402, "the card was declined")  # neither the user nor the jobs will ever have been there
    return SignedUp(user_id=user.id, job_ids=[spec.id for spec in (welcome, crm) if spec.id is not None])


class PastJob(BaseModel):
    id: int
    worker: str
    args: dict[str, Any]
    state: str
    attempt: int
    errors: list[str]
    completed_at: datetime | None


@app.get("/jobs")
async def history(session: Transaction) -> list[PastJob]:
    """The newest jobs first, as an ordinary query."""
    jobs = await session.scalars(select(Job).order_by(Job.id.desc()).limit(100))
    return [
        PastJob(
            id=job.id,
            worker=job.worker,
            args=job.args,
            state=job.state,
            attempt=job.attempt,
            errors=[str(error["error"]).splitlines()[-1] for error in job.errors],
            completed_at=job.completed_at,
        )
        for job in jobs
    ]


class Account(BaseModel):
    id: int
    email: str
    welcomed: bool


@app.get("/users")
async def users(session: Transaction) -> list[Account]:
    """Who has signed up, and whether the welcome has gone out."""
    found = await session.scalars(select(User).order_by(User.id))
    return [Account(id=user.id, email=user.email, welcomed=user.welcomed_at is not None) for user in found]
