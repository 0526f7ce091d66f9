"""``examples/fastapi_app`` under uvicorn, through real HTTP, on a real database."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec, enqueue
from tests.processes import Process, finished, running
from tests.support import eventually

INI = "examples/fastapi_app/alembic.ini"

Application = Callable[..., AbstractAsyncContextManager[tuple[Process, httpx.AsyncClient]]]


def alembic(url: str, *arguments: str) -> str:
    done = finished(["-m", "alembic", "-c", INI, *arguments], environment={"DATABASE_URL": url})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def application(empty_database: str, tmp_path: Path) -> Application:
    """Migrates an empty database and starts the application on it."""
    alembic(empty_database, "upgrade", "head")

    @asynccontextmanager
    async def start(grace: float = 5) -> AsyncGenerator[tuple[Process, httpx.AsyncClient]]:
        environment = {"DATABASE_URL": empty_database, "SHUTDOWN_GRACE": str(grace)}
        command = ["-m", "uvicorn", "examples.fastapi_app.main:app", "--port", "0"]
        with running(command, tmp_path / "log", environment=environment) as process:
            text = await process.says("Uvicorn running on")
            (address,) = re.findall(r"running on (http://\S+)", text)
            async with httpx.AsyncClient(base_url=address, trust_env=False) as web:
                yield process, web

    return start


async def get(web: httpx.AsyncClient, path: str) -> Any:
    return (await web.get(path)).raise_for_status().json()


async def test_a_sign_up_is_answered_after_its_commit_and_its_jobs_run(application: Application) -> None:
    async with application() as (_, web):
        for number in range(1, 4):
            answer = await web.post("/users", json={"email": f"{number}@example.org"})
            assert (answer.status_code, answer.json()["user_id"]) == (201, number)
            # What the answer names is there for everybody already.
            ids = {job["id"] for job in await get(web, "/jobs")}
            assert set(answer.json()["job_ids"]) <= ids

        async def all_done() -> list[Any]:
            jobs = await get(web, "/jobs")
            return jobs if {job["state"] for job in jobs} == {"completed"} else []

        jobs = await eventually(all_done, 20)
        assert [job["id"] for job in jobs] == sorted((job["id"] for job in jobs), reverse=True)
        by_worker = {
            name: [job for job in jobs if job["worker"].endswith(name)] for name in ("send_welcome", "tell_crm")
        }
        assert sorted(job["args"]["user_id"] for job in by_worker["send_welcome"]) == [1, 2, 3]
        assert all(job["attempt"] == 1 and not job["errors"] for job in by_worker["send_welcome"])
        assert [job["attempt"] for job in by_worker["tell_crm"]] == [3] * 3
        assert by_worker["tell_crm"][0]["errors"] == ["ConnectionError: the CRM does not answer"] * 2
        assert all(user["welcomed"] for user in await get(web, "/users"))


async def test_a_transaction_that_fails_leaves_neither_user_nor_job(application: Application) -> None:
    async with application() as (_, web):
        for card, status in (("declined", 402), ("4242", 201), ("4242", 409)):
            answer = await web.post("/users", json={"email": "one@example.org", "card": card})
            assert answer.status_code == status
        users, jobs = await get(web, "/users"), await get(web, "/jobs")
        assert [user["email"] for user in users] == ["one@example.org"]
        assert len(jobs) == 2, "the third sign-up failed inside the flush"


async def test_sigterm_gives_back_what_does_not_end_within_the_grace(
    application: Application, empty_database: str
) -> None:
    grace = 2.0
    short, long = "0.5", "60.0"
    engine = create_async_engine(empty_database)
    worker = "examples.fastapi_app.jobs.export_users"

    async def count() -> dict[tuple[str, str, int], int]:
        async with AsyncSession(engine) as session:
            columns = (Job.args["seconds"].astext, Job.state, Job.attempt)
            rows = await session.execute(select(*columns, func.count()).group_by(*columns))
            return {(seconds, str(state), attempt): number for seconds, state, attempt, number in rows}

    async with application(grace) as (process, _):
        async with AsyncSession(engine) as session, session.begin():
            seconds = [float(short)] * 20 + [float(long)] * 30
            await enqueue(session, [JobSpec(worker, {"seconds": each}, queue="exports") for each in seconds])

        async def all_run() -> bool:
            return sum(number for (_, state, _), number in (await count()).items() if state == "executing") == 50

        await eventually(all_run)
        process.signal(signal.SIGTERM)
        await process.says("Waiting for application shutdown")  # from here on it is the runtime that stops
        asked = time.monotonic()

        async def none_runs() -> bool:
            return all(state != "executing" for _, state, _ in await count())

        await eventually(none_runs, grace + 20)
        took = time.monotonic() - asked
        assert await count() == {(short, "completed", 1): 20, (long, "available", 0): 30}
        # The clock starts a little late, when the log is next read.
        assert grace - 0.1 <= took < grace + 6, f"given back {took - grace:.1f} s after the grace"
        assert await process.ended() in (0, -signal.SIGTERM)
    await engine.dispose()


def test_alembic_finds_nothing_to_change_and_can_go_back(empty_database: str) -> None:
    alembic(empty_database, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(empty_database, "check")
    alembic(empty_database, "downgrade", "base")
    alembic(empty_database, "upgrade", "head")


def test_alembic_prints_the_same_sql_without_a_database() -> None:
    printed = alembic("postgresql+asyncpg://nowhere/nothing", "upgrade", "head", "--sql")
    assert "CREATE TABLE users" in printed
    assert "CREATE TABLE IF NOT EXISTS oban_jobs" in printed


def test_the_application_needs_its_database_named() -> None:
    done = finished(["-c", "import examples.fastapi_app.main"])
    assert "DATABASE_URL" in done.stderr
