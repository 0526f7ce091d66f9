"""The steps of ``oban-sqla demo``. Only that command imports this module, because it registers workers.

The code that it prints is the source of the functions that it calls.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import textwrap
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import click
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..models import Job, JobSpec
from ..oban import Oban
from ..options.later import later
from ..options.unique import Unique
from ..telemetry import attach, detach
from ..workers.context import current_job
from ..workers.job import job
from .output import print_table
from .scratch import Scratch
from .text import echo_paragraph

Sessions = async_sessionmaker[AsyncSession]

PATIENCE = 30.0
"""Seconds that one step may take."""
EVENTS = ("oban.job.stop", "oban.job.exception")


class Base(DeclarativeBase): ...


class User(Base):
    """A user of the application."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    welcomed: Mapped[bool] = mapped_column(default=False)


@job
async def welcome(session: AsyncSession, user_id: int) -> None:
    user = await session.get_one(User, user_id)
    user.welcomed = True


async def sign_up(sessions: Sessions, email: str) -> tuple[User, JobSpec]:
    async with sessions.begin() as session:
        user = User(email=email)
        spec = welcome.new(user_id=later(lambda: user.id))
        session.add_all([user, spec])
    return user, spec


async def sign_up_and_fail(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add(welcome.new(user_id=2))
        await session.flush()
        raise ValueError("the card was declined")


@job(max_attempts=5, backoff=1.0)
async def tell_crm(user_id: int) -> None:
    if current_job().attempt == 1:
        raise ConnectionError("the CRM does not answer")


@job(unique=Unique())
def remind(user_id: int) -> None:
    time.sleep(0.1)  # stands for work: a plain function runs in a thread, where it may wait


async def remind_in_two_seconds(sessions: Sessions) -> JobSpec:
    async with sessions.begin() as session:
        session.add(spec := remind.options(schedule_in=2).new(user_id=1))
    return spec


@job(cron="0 9 * * MON-FRI")
async def report() -> None: ...


class Demo:
    """Steps, each with its code and its outcome.

    :param scratch: the database to run on.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._sessions = scratch.sessions
        self._oban = Oban(scratch.engine, queues={"default": 10}, sessionmaker=self._sessions, node="demo")
        self._events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._begun = 0.0
        self._failed: int | None = None

    async def run(self) -> None:
        """Run all steps, and print what to do next."""
        async with self._steps():
            pass
        _next()

    async def run_and_stay(self) -> None:
        """Run all steps, and keep the node running until the task is cancelled, as Ctrl-C does."""
        async with self._steps():
            self._invite()
            task = asyncio.current_task()
            assert task is not None
            try:
                while True:
                    self._say(await self._events.get())
            except asyncio.CancelledError:
                task.uncancel()
        _next()

    @asynccontextmanager
    async def _steps(self) -> AsyncGenerator[None, None]:
        """Run the steps. The node runs until the context is left."""
        async with self._scratch.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            version = await connection.scalar(select(func.current_setting("server_version")))
        where = "in a temporary directory" if self._scratch.schema is None else f"in the schema {self._scratch.schema}"
        click.echo(f"On PostgreSQL {version}, {where}, which is removed at the end.")
        logging.getLogger("oban_sqla").setLevel(logging.ERROR)  # a step prints that a job has failed
        attach("oban_sqla.cli.demo", EVENTS, lambda _, fields: self._events.put_nowait(fields))
        try:
            first = await self._enqueue()
            self._begun = time.monotonic()
            async with self._oban:
                await self._run(first)
                await self._retry()
                await self._schedule()
                await self._cron()
                await self._history()
                yield
        finally:
            detach("oban_sqla.cli.demo")

    async def _enqueue(self) -> JobSpec:
        _step("A worker is a function. This one takes a session, whose commit also completes its job.")
        _code(welcome)
        _step("Add a job to a session, together with your own rows.")
        _code(sign_up)
        user, spec = await sign_up(self._sessions, "ada@example.org")
        _outcome(f"one transaction committed user {user.id} and job {spec.id}; the job is {spec.state}")
        _step("A rollback leaves no job.")
        _code(sign_up_and_fail)
        try:
            await sign_up_and_fail(self._sessions)
        except ValueError as error:
            async with self._sessions() as session:
                count = await session.scalar(select(func.count()).select_from(Job))
            _outcome(f"{error}: there is still {count} job")
        return spec

    async def _run(self, first: JobSpec) -> None:
        _step("A node runs the jobs that are due: in your program, or with `oban-sqla start`.")
        _text('async with Oban(engine, queues={"default": 10}, sessionmaker=sessions): ...')
        await self._follow(first)
        async with self._sessions() as session:
            user = (await session.scalars(select(User))).one()
        _outcome(f"{user.email} is welcomed: {user.welcomed}, in the transaction that completed the job")

    async def _retry(self) -> None:
        _step("A job that fails is retried; here after one second.")
        _code(tell_crm)
        self._begun = time.monotonic()
        async with self._sessions.begin() as session:
            session.add(spec := tell_crm.new(user_id=1))
        self._failed = spec.id
        await self._follow(spec)

    async def _schedule(self) -> None:
        _step("A job can be scheduled. For a duplicate of a unique job, spec.conflict is true.")
        _code(remind, remind_in_two_seconds)
        self._begun = time.monotonic()
        first = await remind_in_two_seconds(self._sessions)
        _outcome(f"job {first.id} is {first.state}")
        again = await remind_in_two_seconds(self._sessions)
        _outcome(f"once more: spec.conflict is {again.conflict}, spec.id is {again.id}, and nothing was inserted")
        await self._follow(first)

    async def _cron(self) -> None:
        _step("The leader enqueues the jobs of cron entries; here we do, instead of waiting for nine o'clock.")
        _code(report)
        click.echo()
        _text("spec = await oban.crons.run_now(report.worker_name)")
        self._begun = time.monotonic()
        spec = await self._oban.crons.run_now(report.worker_name)
        await self._follow(spec)

    async def _history(self) -> None:
        _step("Query the history like any table.")
        _text("await session.scalars(select(Job).order_by(Job.id))")
        async with self._sessions() as session:
            jobs = (await session.scalars(select(Job).order_by(Job.id))).all()
        columns = ("id", "worker", "args", "state", "attempt", "errors")
        rows = [
            (past.id, _short(past.worker), past.args, str(past.state), past.attempt, len(past.errors)) for past in jobs
        ]
        print_table(columns, rows, "")

    async def _follow(self, spec: JobSpec) -> None:
        """Print what happens to jobs until this one is completed, also in the database."""
        async with asyncio.timeout(PATIENCE):
            while True:
                fields = await self._events.get()
                self._say(fields)
                if fields["job_id"] == spec.id and fields["state"] == "completed":
                    break
            await self._oban.result(spec, PATIENCE)

    def _say(self, fields: Mapping[str, Any]) -> None:
        error = f" ({fields['error']})" if "error" in fields else ""
        what = f"job {fields['job_id']} ({_short(fields['worker'])}), attempt {fields['attempt']}"
        _outcome(f"after {time.monotonic() - self._begun:.2f} s: {what}, {fields['state']}{error}")

    def _invite(self) -> None:
        """Print commands for another terminal."""
        click.echo()
        schema = self._scratch.schema
        where = "" if schema is None else f", with --schema {schema} and the same --database-url"
        echo_paragraph(f"The node runs until Ctrl-C. Try in another terminal{where}:", "")
        if schema is None:
            click.echo(f"  export OBAN_DATABASE_URL='{self._scratch.url}'")
        for command in ("jobs list", f"jobs show {self._failed}", "top", f"cron run {report.worker_name}"):
            click.echo(f"  oban-sqla {command}")


_numbers = iter(range(1, 100))


def _step(text: str) -> None:
    click.echo()
    echo_paragraph(text, f"{next(_numbers)}. ")


def _code(*functions: Callable[..., Any]) -> None:
    _text("\n".join(map(inspect.getsource, functions)))


def _text(code: str) -> None:
    click.secho(textwrap.indent(code.rstrip(), "     "), fg="cyan")


def _outcome(text: str) -> None:
    echo_paragraph(text, "   -> ")


def _short(worker: str) -> str:
    return worker.rpartition(".")[2]


def _next() -> None:
    click.echo()
    click.echo("Next, in your application, with @job functions in app/jobs.py:")
    click.echo("  export DATABASE_URL=postgresql://localhost/app")
    click.echo("  oban-sqla migrate              # create the tables, once; Alembic: migrations.upgrade(op)")
    click.echo("  oban-sqla start app.jobs       # run its jobs until Ctrl-C")
