"""``oban-sqla start`` as a process: what it runs, and how it ends."""

from __future__ import annotations

import asyncio
import io
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec, enqueue, migrations
from oban_sqla.cli import process as cli_process
from tests.processes import Process, finished, running
from tests.support import eventually

SHOP = """
import asyncio, os, threading, time
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from oban_sqla import Oban, cancelled, job
from sqlalchemy import text

engine = create_async_engine(os.environ["APP_URL"])
Session = async_sessionmaker(engine)
Unbound = async_sessionmaker()
oban = Oban(engine, queues={"late": 3}, node="its-own-node")

@job
async def quick() -> None: ...

@job
async def asks(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))

@job
async def failing() -> None:
    raise ValueError("no")

@job
async def slow(seconds: float) -> None:
    print("slow", flush=True)
    await asyncio.sleep(seconds)

@job
def stubborn(seconds: float) -> None:
    print("stubborn", flush=True)
    time.sleep(seconds)

@job
async def elsewhere(seconds: float) -> None:
    print("elsewhere", flush=True)
    await asyncio.to_thread(time.sleep, seconds)

@job
async def blocking(seconds: float) -> None:
    print("blocking", flush=True)
    time.sleep(seconds)
"""

Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path, database_url: str, clean_tables: None) -> Start:
    """Starts the command on this test's database, in a directory with ``shop.py``."""

    def start(
        *arguments: str, url: str = database_url, module: str = SHOP, **variables: str
    ) -> AbstractContextManager[Process]:
        (tmp_path / "shop.py").write_text(module)
        environment = {"OBAN_DATABASE_URL": url, "APP_URL": url, **variables}
        return running(["-m", "oban_sqla", "start", *arguments], tmp_path / "log", tmp_path, environment)

    return start


async def add(engine: AsyncEngine, specs: Iterable[JobSpec]) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, specs)


async def states(engine: AsyncEngine) -> dict[str, tuple[str, int]]:
    async with AsyncSession(engine) as session:
        jobs = await session.scalars(select(Job).order_by(Job.id))
        return {job.worker.removeprefix("shop."): (str(job.state), job.attempt) for job in jobs}


async def completed(engine: AsyncEngine, *workers: str) -> None:
    async def all_done() -> bool:
        now = await states(engine)
        return all(now[worker][0] == "completed" for worker in workers)

    await eventually(all_done, 20)


async def test_a_module_s_workers_run_until_sigterm(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.quick"), JobSpec("shop.asks", queue="media")])
    with start("shop", "--queues", "default=2,media", "--node", "me") as process:
        await completed(engine, "quick", "asks")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert "started on me with queues default, media" in process.text
    assert "SIGTERM: fetching no more jobs; running jobs have 15 s to finish; a second signal exits" in process.text
    assert "stopped on me" in process.text
    assert "Traceback" not in process.text


async def test_a_node_may_end_when_its_queues_are_empty(start: Start, engine: AsyncEngine) -> None:
    later = JobSpec("shop.asks", schedule_in=3600)
    await add(engine, [JobSpec("shop.slow", {"seconds": 0.5}), JobSpec("shop.quick"), later])
    with start("shop", "--until-empty") as process:
        assert await process.ended() == 0
    assert await states(engine) == {"slow": ("completed", 1), "quick": ("completed", 1), "asks": ("scheduled", 0)}
    assert "stopping, because the queues have no job that is due: default" in process.text
    await add(engine, [JobSpec("shop.elsewhere", {"seconds": 30})])
    with start("shop", "--until-empty", "--shutdown-grace", "0.1") as process:
        await process.says("started on")
        await add(engine, [JobSpec("shop.blocking", {"seconds": 0})])
        await completed(engine, "blocking")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert "SIGTERM: fetching no more jobs" in process.text


@pytest.mark.parametrize(
    ("more", "said"), [("--processes=2", "there are to be 2"), ("--reload", "starts a process again")]
)
async def test_a_node_that_is_to_go_on_does_not_end_when_its_queues_are_empty(
    start: Start, more: str, said: str
) -> None:
    with start("shop", "--until-empty", more) as process:
        assert await process.ended() == 2
    assert said in process.text


async def test_systemd_hears_of_the_start_and_a_closed_terminal_stops_the_node(
    start: Start, engine: AsyncEngine, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        # Also where the tests run under nohup.
        shop = f"{SHOP}\nimport signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        with start("shop", module=shop, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            async with asyncio.timeout(20):
                assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"READY=1"
                await add(engine, [JobSpec("shop.slow", {"seconds": 0.5})])
                await process.says("\nslow\n")
                process.signal(signal.SIGHUP)
                assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"STOPPING=1"
                process.signal(signal.SIGHUP)  # one is of the shell, the other of the kernel
            assert await process.ended() == 0
    assert "SIGHUP: fetching no more jobs" in process.text
    await completed(engine, "slow")


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["there is none", "it is closed"])
def test_a_process_leaves_though_its_output_can_not_be_written(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    if stream is not None:
        stream.close()
    codes: list[int] = []
    monkeypatch.setattr("oban_sqla.cli.process.logging.shutdown", lambda: None)
    monkeypatch.setattr("oban_sqla.cli.process.os._exit", codes.append)
    monkeypatch.setattr("oban_sqla.cli.process.sys.stdout", stream)
    cli_process._leave(143)
    assert codes == [143]


async def test_as_many_jobs_as_the_queue_allows_have_a_session_at_once(start: Start, engine: AsyncEngine) -> None:
    """More than the 15 connections that SQLAlchemy's pool has by default: the others would fail after 30 s."""
    shop = """
import asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from oban_sqla import job

inside = 0

@job
async def meets(session: AsyncSession) -> None:
    global inside
    await session.execute(text("SELECT 1"))
    inside += 1
    while inside < 18:
        await asyncio.sleep(0.01)
"""
    with start("shop", "--queues", "default=18", module=shop) as process:
        await add(engine, [JobSpec("shop.meets") for _ in range(18)])
        await completed(engine, "meets")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_sessionmaker_s_sessions_are_those_of_the_jobs(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.asks")])
    with start("shop:Session", "--queues", "default=2"):
        await completed(engine, "asks")


PLAIN = """
import os
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from oban_sqla import job

url = make_url(os.environ["APP_URL"])
engine = create_engine(url.set(drivername="postgresql+psycopg"))
Plain = sessionmaker(engine)
Async = async_sessionmaker(create_async_engine(url))

@job
def asks_plainly(session: Session) -> None:
    session.execute(text("SELECT 1"))

@job
async def asks(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))
"""


@pytest.mark.parametrize("targets", [["plain"], ["plain:Plain"], ["plain:engine"], ["plain:Async", "plain:Plain"]])
async def test_jobs_get_the_kind_of_session_that_they_ask_for(
    start: Start, engine: AsyncEngine, tmp_path: Path, targets: list[str]
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    await add(engine, [JobSpec("plain.asks_plainly"), JobSpec("plain.asks")])
    with start(*targets):
        await completed(engine, "plain.asks_plainly", "plain.asks")


async def test_an_oban_runs_with_its_own_options(start: Start, engine: AsyncEngine, tmp_path: Path) -> None:
    # What the file says of the database is for other commands; an option that says the same is no contradiction.
    (tmp_path / "oban.toml").write_text("database_url = 'postgresql://h/d'\nnode = 'its-own-node'\nqueues.late = 3")
    await add(engine, [JobSpec("shop.quick", queue="late")])
    with start("shop:oban") as process:
        await completed(engine, "quick")
        assert "started on its-own-node with queues late" in process.text


async def test_an_engine_works_the_default_queue(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.asks")])
    with start("shop:engine") as process:
        await completed(engine, "asks")
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
    assert "SIGINT: fetching no more" in process.text


async def test_several_modules_are_imported_into_one_process(start: Start, engine: AsyncEngine, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text("from oban_sqla import job\n@job\nasync def other() -> None: ...")
    await add(engine, [JobSpec("shop.quick"), JobSpec("more.other")])
    with start("shop", "more"):
        await completed(engine, "quick", "more.other")


async def test_the_environment_overrides_the_file_and_arguments_override_both(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "oban.toml").write_text('module = "shop:engine"\nnode = "of the file"\n[queues]\nof_the_file = 1')
    monkeypatch.setenv("OBAN_QUEUES", "of_the_environment=2")
    monkeypatch.setenv("OBAN_NODE", "of the environment")
    with start("--node", "argued") as process:
        await process.says("started on argued with queues of_the_environment")


async def test_each_job_that_ends_is_logged_but_not_at_higher_levels(start: Start, engine: AsyncEngine) -> None:
    for level, logged in [("info", True), ("warning", False)]:
        await add(engine, [JobSpec("shop.slow", {"seconds": 0.125}), JobSpec("shop.failing", max_attempts=1)])
        with start("shop", "--log-level", level) as process:
            await completed(engine, "slow")
            await process.says("(shop.failing) failed in attempt 1 of 1 and is discarded: ValueError")
            await process.says("ValueError: no\n")
            assert ("(shop.slow) completed in " in process.text) is logged
            assert "0.125" not in process.text


async def test_what_does_not_end_within_the_grace_is_available_again(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.slow", {"seconds": 60})])
    with start("shop", "--shutdown-grace", "0.2") as process:
        await process.says("slow")
        await process.says("started on")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert await states(engine) == {"slow": ("available", 0)}


async def test_a_job_in_a_thread_is_given_back_as_the_process_leaves(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.stubborn", {"seconds": 300}), JobSpec("shop.quick")])
    with start("shop", "--shutdown-grace", "0.1") as process:
        await process.says("stubborn")
        await completed(engine, "quick")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert "1 job in threads did not finish; gave back 1" in process.text
    assert (await states(engine))["stubborn"] == ("available", 0)


async def test_a_thread_that_a_job_left_behind_does_not_keep_the_process(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.elsewhere", {"seconds": 300})])
    with start("shop", "--shutdown-grace", "0.1") as process:
        await process.says("elsewhere")
        await process.says("started on")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert await states(engine) == {"elsewhere": ("available", 0)}


@pytest.mark.parametrize("worker", ["slow", "stubborn", "blocking"])
async def test_a_second_signal_ends_at_once(start: Start, engine: AsyncEngine, worker: str) -> None:
    await add(engine, [JobSpec(f"shop.{worker}", {"seconds": 300})])
    with start("shop", "--shutdown-grace", "300") as process:
        await process.says(worker)
        if worker != "blocking":  # which keeps the process from it
            await process.says("started on")
            await add(engine, [JobSpec("shop.quick")])  # said inside of the start, which has ended when this one has
            await completed(engine, "quick")
        process.signal(signal.SIGTERM)
        if worker == "blocking":
            await asyncio.sleep(0.2)  # nothing can be said while the loop is blocked
        else:
            await process.says("fetching no more")
        process.signal(signal.SIGINT)
        assert await process.ended() == 128 + signal.SIGINT
    assert "SIGINT again: exiting at once; other nodes will rescue the running jobs" in process.text


async def test_a_signal_ends_the_wait_for_a_database(start: Start) -> None:
    with start(
        "shop",
        url="postgresql+asyncpg://127.0.0.1:1/nothing",
    ) as process:
        await process.says("on the event loop of")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


def refused(tmp_path: Path, *arguments: str, url: str = "postgresql://127.0.0.1:1/nothing") -> tuple[int, str]:
    """The exit code, and what was said, without click's lines on usage."""
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {"OBAN_DATABASE_URL": url, "APP_URL": url.replace("postgresql:", "postgresql+asyncpg:")}
    done = finished(["-m", "oban_sqla", "start", *arguments], tmp_path, environment)
    assert "Traceback" not in done.stderr
    return done.returncode, f"\n{done.stderr}".rpartition("\nError: ")[2]


def test_a_database_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "oban.toml").write_text("start_timeout = 0.5\n")
    code, said = refused(tmp_path, "shop")
    assert code == 1
    assert said.startswith("no answer from postgresql+asyncpg://127.0.0.1:1/nothing within 0.5 s")
    assert said.count("\n") == 1


def test_a_database_that_is_not_there_is_one_line_in_its_words(tmp_path: Path, database_url: str) -> None:
    url = make_url(database_url).set(database="no_such_database").render_as_string(hide_password=False)
    code, said = refused(tmp_path, "shop", url=url)
    assert code == 1
    assert said.endswith('the database says: database "no_such_database" does not exist\n')
    assert said.count("\n") == 1


def test_what_an_import_raises_is_shown_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("def fail():\n    raise ValueError('no')\n")
    (tmp_path / "broken.py").write_text("from deep import fail\nfail()\n")
    done = finished(["-m", "oban_sqla", "start", "broken"], tmp_path, {"OBAN_DATABASE_URL": "postgresql://h/d"})
    assert done.returncode == 1
    trace, _, said = done.stderr.rpartition("\nError: ")
    assert said == "can't import broken: ValueError: no (deep.py, line 2)\n"
    assert [line.split(", in ")[1] for line in trace.splitlines() if ", in " in line] == ["<module>", "fail"]
    assert trace.strip().endswith("ValueError: no")


def test_a_file_instead_of_a_module_is_told_its_name(tmp_path: Path) -> None:
    (tmp_path / "main_job.py").write_text("")
    code, said = refused(tmp_path, "main_job.py")
    assert code == 1
    assert "did you mean main_job?" in said


def test_missing_tables_name_the_command(tmp_path: Path, empty_database: str) -> None:
    code, said = refused(tmp_path, "shop", url=empty_database)
    assert code == 1
    assert "run `oban-sqla migrate`" in said
    assert said.count("\n") == 1
    assert refused(tmp_path, "shop", "--schema", "jobs", url=empty_database)[1].startswith(
        "no oban_sqla tables found in the schema 'jobs'"
    )


async def test_tables_in_another_schema_than_asked_are_named(tmp_path: Path, empty_database: str) -> None:
    engine = create_async_engine(empty_database)
    try:
        await migrations.migrate(engine, schema="jobs")
    finally:
        await engine.dispose()
    done = await asyncio.to_thread(
        finished, ["-m", "oban_sqla", "queues"], environment={"OBAN_DATABASE_URL": empty_database}
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: no oban_sqla tables found in the search path; the schema 'jobs' has them; "
        "add --schema jobs, or run `oban-sqla migrate` first for a second queue\n",
    )


def test_a_module_without_workers_is_an_error(tmp_path: Path) -> None:
    assert refused(tmp_path, "json") == (1, "json registers no workers; name the module with your @job functions\n")


def test_a_module_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "shpo") == (
        1, f"there is no module 'shpo' in {tmp_path}, nor installed; did you mean shop?\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop", "--queues", "default=0"], "queue 'default': expected a limit from 1 to 10,000 jobs, got '0'"),
        (["shop", "--queues", "default=ten"], "queue 'default': expected a limit from 1 to 10,000 jobs, got 'ten'"),
        (["shop", "--queues", "mail:3"], "'mail:3': expected a name and a limit, such as mail=3"),
        (["shop", "--queues", "=5"], "expected names and limits, such as default=10,media=5"),
        (["shop", "--queues", "a=1,,b=2"], "expected names and limits, such as default=10,media=5"),
        (["shop", "--queues", "a=1,a=2"], "queue 'a' is given twice"),
        (["shop", "--shutdown-grace", "-1"], "expected a number, 0 or more, got '-1'"),
        (["shop", "--log-level", "loud"], "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["shop:oban", "--queues", "a=1"], "--queues can't be used with shop:oban: that Oban has its options already"),
        (["shop:oban", "--node", "a"], "--node can't be used with shop:oban"),
        (["shop:oban", "--database-url", "postgresql://h/d"], "--database-url can't be used with shop:oban"),
        (["shop:engine", "--database-url", "postgresql://h/d"], "--database-url can't be used with shop:engine"),
    ],
)
def test_options_that_can_t_be_used_are_usage_errors(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, message = refused(tmp_path, *arguments)
    assert code == 2
    assert said in message


def test_without_a_module_it_says_what_to_do(tmp_path: Path) -> None:
    code, said = refused(tmp_path)
    assert code == 2
    assert said.startswith(
        "no module given; name the module with your @job functions, as in `oban-sqla start app.jobs`"
    )
    assert 'write module = "app.jobs" in oban.toml' in said


def test_one_process_runs_one_object(tmp_path: Path) -> None:
    assert refused(tmp_path, "shop:oban", "shop:engine") == (
        2, "shop:oban and shop:engine: a process can run only one of them\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("node = 'other'", "oban.toml: node: shop:oban is an Oban that was made with another value of node"),
        ("queues.late = 5", "oban.toml: [queues]: shop:oban is an Oban that was made with another value of queues"),
        ("[[crontab]]\nworker = 'shop.quick'\nexpression = '@daily'", "oban.toml: crontab: shop:oban is an Oban"),
    ],
)
def test_an_oban_s_own_options_are_not_contradicted_by_the_file(tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "oban.toml").write_text(settings)
    code, message = refused(tmp_path, "shop:oban")
    assert code == 1
    assert message.startswith(said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "worker = 'shop.quik'",
            "oban.toml: [[crontab]] 1: worker: unknown worker 'shop.quik'; did you mean 'shop.quick'?",
        ),
        ("worker = 'shop.slow'", "oban.toml: [[crontab]] 1: "),
        ("worker = 'shop.slow'\nargs = {second = 1}", "oban.toml: [[crontab]] 1: "),
        ("worker = 'shop.quick'\n[[crontab]]\nworker = 'shop.quick'\nexpression = '@daily'", "oban.toml: crontab: "),
    ],
)
def test_the_crontab_of_the_file_fits_the_workers(tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "oban.toml").write_text(f"module = 'shop'\n[[crontab]]\nexpression = '@hourly'\n{settings}")
    code, message = refused(tmp_path)
    assert code == 1
    assert message.startswith(said)
    assert message.count("\n") == 1


def test_a_sessionmaker_without_an_engine_is_an_error(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "shop:Unbound")
    assert (code, said) == (1, "the sessionmaker is bound to None; expected async_sessionmaker(an AsyncEngine)\n")
