"""``oban-sqla run``: one job in the foreground."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Encryption, JobSpec, Oban, job
from tests.processes import finished, running
from tests.runtime.helpers import execute, insert, load

SHOP = """
import asyncio, threading
from oban_sqla import Snooze, current_job, job
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

@job(queue="mail")
async def send(session: AsyncSession, word: str) -> None:
    await session.execute(text("SELECT 1"))
    print("sending", current_job().id, word, flush=True)

@job
def plain() -> None:
    assert threading.current_thread() is threading.main_thread()
    number = 7
    breakpoint()
    print("went on with", number, flush=True)

@job(executor="process")
def elsewhere() -> None:
    assert threading.current_thread() is threading.main_thread()

@job(max_attempts=2)
async def fails() -> None:
    raise ValueError("the reason")

@job
async def snoozes() -> Snooze:
    return Snooze(60)

@job
async def long() -> None:
    print("began", flush=True)
    await asyncio.sleep(600)
"""

OWN = """
import logging, os
from oban_sqla import Encryption, JobLogs, Oban, async_url, injected, job
from sqlalchemy.ext.asyncio import create_async_engine

class Client: ...

class Around:
    async def before(self, job): print("before", flush=True)
    async def after(self, job, *_): print("after", flush=True)

@job(encrypted=True)
async def send(word: str, client: Client = injected()) -> None:
    logging.getLogger("own").warning("%s by %s", word, type(client).__name__)

oban = Oban(create_async_engine(async_url(os.environ["OBAN_DATABASE_URL"])), hooks=[Around()], job_logs=JobLogs(),
            resources={Client: Client}, encryption=Encryption(keys=["KEY"]))
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, database_url: str, clean_tables: None) -> Call:
    """Calls the command in a directory with ``shop.py``."""
    (tmp_path / "shop.py").write_text(SHOP)

    def call(*arguments: Any) -> tuple[int, str, str]:
        environment = {"OBAN_DATABASE_URL": database_url}
        done = finished(["-m", "oban_sqla", "run", *map(str, arguments)], tmp_path, environment)
        return done.returncode, done.stdout, done.stderr

    return call


async def test_a_job_runs_at_once_and_is_completed(call: Call, engine: AsyncEngine) -> None:
    [job_id, other] = await insert(
        engine, *(JobSpec("shop.send", {"word": "hi"}, queue="mail", schedule_in=3600) for _ in range(2))
    )
    code, out, said = call(job_id, "shop")
    assert (code, out) == (0, f"sending {job_id} hi\njob {job_id} is completed\n"), said
    assert f"job {job_id} (shop.send) completed in " in said
    assert "queue 'run of job" not in said  # which is a name for this run alone
    ended = await load(engine, job_id)
    assert (ended.state, ended.attempt) == ("completed", 1)
    assert (await load(engine, other)).state == "scheduled", "no other job is taken"
    assert await execute(engine, "SELECT 1 FROM oban_producers") == [], "and nothing is left of the node"


async def test_a_job_runs_with_what_the_oban_of_the_program_has_for_jobs(
    call: Call, tmp_path: Path, engine: AsyncEngine
) -> None:
    keys = Encryption(keys=[key := Fernet.generate_key().decode()])
    (tmp_path / "own.py").write_text(OWN.replace("KEY", key))

    @job(name="own.send", encrypted=True)
    async def send(word: str) -> None: ...

    oban = Oban(engine, encryption=keys)
    [spec] = await oban.enqueue(send.new("hi"))
    code, out, said = call(spec.id, "own:oban")
    assert (code, out) == (0, f"before\nafter\njob {spec.id} is completed\n"), said
    assert [line.message for line in await oban.logs(spec)] == ["hi by Client"]


async def test_a_failure_is_shown_with_its_traceback(call: Call, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, JobSpec("shop.fails", max_attempts=2))
    code, out, said = call(job_id, "shop")
    assert (code, out) == (1, f"job {job_id} is retryable\n")
    assert "ValueError: the reason" in said
    assert (await load(engine, job_id)).errors[0]["attempt"] == 1


async def test_a_snooze_and_a_process_worker_end_as_on_a_node(call: Call, engine: AsyncEngine) -> None:
    snoozed, elsewhere = await insert(engine, JobSpec("shop.snoozes"), JobSpec("shop.elsewhere"))
    assert call(snoozed, "shop")[:2] == (0, f"job {snoozed} is scheduled\n")
    code, out, said = call(elsewhere, "shop")
    assert (code, out) == (0, f"job {elsewhere} is completed\n"), said


async def test_a_debugger_has_the_terminal(tmp_path: Path, call: Call, engine: AsyncEngine, database_url: str) -> None:
    [job_id] = await insert(engine, JobSpec("shop.plain"))
    (tmp_path / "debug.py").write_text(
        "import io, sys\n"
        "sys.stdin = io.StringIO('p number + 1\\ncontinue\\n')\n"
        f"sys.argv = ['oban-sqla', 'run', '{job_id}', 'shop']\n"
        "from oban_sqla.cli import main\nmain()\n"
    )
    done = finished(["debug.py"], tmp_path, {"OBAN_DATABASE_URL": database_url})
    assert done.returncode == 0, done.stderr
    assert "(Pdb) 8\n" in done.stdout
    assert "went on with 7" in done.stdout


async def test_after_a_signal_the_job_is_available_again(
    call: Call, tmp_path: Path, engine: AsyncEngine, database_url: str
) -> None:
    [job_id] = await insert(engine, JobSpec("shop.long"))
    arguments = ["-m", "oban_sqla", "run", str(job_id), "shop"]
    with running(arguments, tmp_path / "log", tmp_path, {"OBAN_DATABASE_URL": database_url}) as process:
        await process.says("began")
        assert (await load(engine, job_id)).state == "executing"
        process.signal(signal.SIGINT)
        assert await process.ended(60) != 0
    job = await load(engine, job_id)
    assert (job.state, job.attempt) == ("available", 0)


async def test_what_can_not_be_run_is_said(call: Call, engine: AsyncEngine) -> None:
    unknown, done = await insert(engine, JobSpec("shop.sned"), JobSpec("shop.send"))
    await execute(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = :id", id=done)
    assert call(9_999_999, "shop")[2].endswith("Error: there is no job 9999999\n")
    assert "is of the worker 'shop.sned', which is not registered; did you mean 'shop.send'" in call(unknown, "shop")[2]
    code, _, said = call(done, "shop")
    assert code == 1
    assert f"job {done} is completed, and only a job that waits can be run; `oban-sqla jobs retry {done}`" in said
    code, _, said = call(done, "shop", "--database-url", "postgresql://localhost:1/app")
    assert (code, "no answer from postgresql+asyncpg://localhost:1/app" in said) == (1, True), said
    code, _, said = call(done, "shop", "--schema", "elsewhere")
    assert (code, "run `oban-sqla migrate --schema elsewhere`" in said) == (1, True), said
    code, _, said = call(done)
    assert code == 2
    assert "no module given; name the module with the @job function" in said
