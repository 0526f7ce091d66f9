"""``oban-sqla start --processes N``: one node of several processes, kept by a supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, JobSpec, Oban, Producer, enqueue
from tests import support
from tests.processes import Process, running

SHOP = """
import asyncio, logging, os
from pathlib import Path
from oban_sqla import job

@job
async def whose(seconds: float) -> None:
    print(f"job in {os.getpid()}", flush=True)
    await asyncio.sleep(seconds)

@job
async def held(until: str) -> None:
    print(f"job in {os.getpid()}", flush=True)
    while not Path(until).exists():
        await asyncio.sleep(0.05)

@job
async def long_words() -> None:
    logging.getLogger("shop").warning("begin %s end", "x" * 20_000)
"""

eventually = partial(support.eventually, timeout=60.0)
"""On a busy machine, the start of a process alone takes ten seconds."""

Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path, database_url: str, clean_tables: None) -> Start:
    """Starts the command on this test's database, in a directory with ``shop.py``."""
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*arguments: str, flags: Sequence[str] = (), **environment: str) -> AbstractContextManager[Process]:
        variables = {"OBAN_DATABASE_URL": database_url, **environment}
        return running([*flags, "-m", "oban_sqla", "start", *arguments], tmp_path / "log", tmp_path, variables)

    return start


async def add(engine: AsyncEngine, specs: Iterable[JobSpec]) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, specs)


async def count(engine: AsyncEngine, state: str) -> int:
    async with AsyncSession(engine) as session:
        return len((await session.scalars(select(Job.id).where(Job.state == state))).all())


async def limits(engine: AsyncEngine, queue: str = "default") -> list[int]:
    async with AsyncSession(engine) as session:
        rows = (await session.scalars(select(Producer).where(Producer.queue == queue))).all()
        assert len({row.node for row in rows}) <= 1, "the processes have one name"
        return sorted(row.meta["local_limit"] for row in rows)


def pids_of(text: str) -> list[int]:
    """The processes that have said where a job of theirs runs."""
    return [int(pid) for pid in re.findall(r"job in (\d+)", text)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_the_processes_share_the_limits_of_their_node(start: Start, engine: AsyncEngine) -> None:
    with start("shop", "--queues", "default=5,narrow=1", "--processes", "2") as process:
        await process.says("all 2 processes of")
        assert await limits(engine) == [2, 3]
        assert await limits(engine, "narrow") == [1]
        assert "queue 'default' runs 3 of its node's 5 at once" in process.text
        await Oban(engine).scale_queue("default", 7)
        await eventually(lambda: _are(engine, [3, 4]))
        await add(engine, [JobSpec("shop.whose", {"seconds": 60}) for _ in range(9)])
        await eventually(lambda: len(pids_of(process.text)) == 7)
        assert await count(engine, "executing") == 7
        process.signal(signal.SIGTERM)
        await process.says("SIGTERM: stopping 2 processes")  # two signals that wait together come in any order
        process.signal(signal.SIGINT)
        assert await process.ended() == 128 + signal.SIGINT
        assert "SIGINT again: exiting at once; other nodes will rescue the running jobs" in process.text


async def _are(engine: AsyncEngine, expected: list[int]) -> bool:
    return await limits(engine) == expected


async def test_a_process_that_is_killed_is_started_again_and_the_others_go_on(
    start: Start, engine: AsyncEngine, tmp_path: Path
) -> None:
    held = [JobSpec("shop.held", {"until": str(tmp_path / "end")}) for _ in range(4)]
    with start("shop", "--queues", "default=4", "--processes", "2") as process:
        await process.says("all 2 processes of")
        await add(engine, held)
        pids = await eventually(lambda: set(pids_of(process.text)) if len(set(pids_of(process.text))) == 2 else None)
        os.kill(min(pids), signal.SIGKILL)
        await process.says("was killed by SIGKILL; it is started again in 1 s")
        await eventually(lambda: len(re.findall(r"started on", process.text)) == 3)
        await add(engine, held)
        await eventually(lambda: len(set(pids_of(process.text))) == 3)
        os.kill(max(pids), signal.SIGRTMIN + 1)  # which Python does not name
        await process.says(f"was killed by signal {signal.SIGRTMIN + 1}; it is started again in 1 s")
        await eventually(lambda: len(re.findall(r"started on", process.text)) == 4)
        assert process.text.count("started again") == 2
        (tmp_path / "end").touch()
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.parametrize("whom", ["the supervisor", "all at once"])
async def test_a_stop_lets_the_jobs_of_all_processes_finish(start: Start, engine: AsyncEngine, whom: str) -> None:
    with start("shop", "--queues", "default=4", "--processes", "2") as process:
        await process.says("all 2 processes of")
        await add(engine, [JobSpec("shop.whose", {"seconds": 1.5}) for _ in range(4)])
        pids = await eventually(lambda: set(pids_of(process.text)) if len(pids_of(process.text)) == 4 else None)
        process.signal(signal.SIGTERM)
        if whom == "all at once":  # as systemd does
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            await process.says("stopping 2 processes")
            process.signal(signal.SIGHUP)  # with SendSIGHUP=yes
        assert await process.ended() == 0
        assert await count(engine, "completed") == 4
        assert not any(is_alive(pid) for pid in pids)


async def test_processes_finish_their_jobs_when_their_supervisor_is_killed(start: Start, engine: AsyncEngine) -> None:
    with start("shop", "--queues", "default=4", "--processes", "2") as process:
        await process.says("all 2 processes of")
        await add(engine, [JobSpec("shop.whose", {"seconds": 1.5}) for _ in range(4)])
        pids = await eventually(lambda: set(pids_of(process.text)) if len(pids_of(process.text)) == 4 else None)
        process.signal(signal.SIGKILL)
        await process.ended()
        await eventually(lambda: not any(is_alive(pid) for pid in pids), timeout=20)
        assert await count(engine, "completed") == 4


async def test_a_program_that_can_not_start_ends_with_its_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no key for the mail server')\n")
    with start("broken", "--processes", "3") as process:
        assert await process.ended() == 1
        assert "no key for the mail server" in process.text
        assert "none of the 3 processes could start" in process.text
        assert "Traceback" not in process.text.partition("none of the 3")[2]


@pytest.mark.parametrize("how", ["--processes=2", "--reload"])
async def test_processes_have_the_flags_of_the_interpreter_that_starts_them(
    start: Start, tmp_path: Path, how: str
) -> None:
    (tmp_path / "shop.py").write_text("import sys\nraise ValueError(f'safe path: {sys.flags.safe_path}')")
    with start("shop", how, flags=["-P"]) as process:
        await process.says("ValueError: safe path: True", 60)


async def test_one_port_answers_for_all_processes(start: Start, engine: AsyncEngine) -> None:
    port = free_port()
    where = f"127.0.0.1:{port}"
    with start("shop", "--queues", "default=4", "--processes", "2", "--health", where) as process:
        await process.says("all 2 processes of")
        assert await eventually(lambda: _are_ready(port)) == {"ok": True, "processes": 2}
        assert (await asyncio.to_thread(asked, port, "/live"))[0] == 200
        await add(engine, [JobSpec("shop.whose", {"seconds": 0.2}) for _ in range(4)])
        await eventually(lambda: _completed(engine, 4))
        await eventually(lambda: _counted(port))
        os.kill(pids_of(process.text)[0], signal.SIGSTOP)
        try:
            status, body = await asyncio.to_thread(asked, port, "/ready")
            assert (status, json.loads(body)["ok"]) == (503, False)
            assert "no answer within 1 s" in body
        finally:
            os.kill(pids_of(process.text)[0], signal.SIGCONT)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def _are_ready(port: int) -> dict[str, Any] | None:
    """What all processes say; None where one has not answered within its second."""
    status, body = await asyncio.to_thread(asked, port, "/ready")
    said = json.loads(body)
    return {"ok": said["ok"], "processes": len(said["processes"])} if status == 200 else None


async def _counted(port: int) -> list[str]:
    """How many jobs are completed, as the metrics have it, where all processes have answered within their second."""
    _, metrics = await asyncio.to_thread(asked, port, "/metrics")
    done = 'oban_jobs_total{queue="default",state="completed",worker="shop.whose"} '
    counts = [line.removeprefix(done) for line in metrics.splitlines() if line.startswith(done)]
    assert counts == ["4.0"], metrics
    return counts


async def _completed(engine: AsyncEngine, number: int) -> bool:
    return await count(engine, "completed") == number


async def test_long_lines_of_several_processes_are_whole(start: Start, engine: AsyncEngine) -> None:
    with start("shop", "--queues", "default=8", "--processes", "2") as process:
        await process.says("all 2 processes of")
        await add(engine, [JobSpec("shop.long_words") for _ in range(60)])
        await eventually(lambda: _completed(engine, 60))
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        lines = [line for line in process.text.splitlines() if "xxx" in line]
        assert len(lines) == 60
        assert all(re.fullmatch(r"\S+ WARNING +\[[12]\] shop: begin x{20000} end \[job .+\]", line) for line in lines)


async def test_systemd_hears_when_all_processes_are_ready(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        with start("shop", "--processes", "2", NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            async with asyncio.timeout(20):
                assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"READY=1"
                process.signal(signal.SIGTERM)
                assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"STOPPING=1"
            assert await process.ended() == 0


async def test_the_number_of_processes_may_be_set_in_the_settings(start: Start, tmp_path: Path) -> None:
    (tmp_path / "oban.toml").write_text('module = "shop"\nprocesses = 2\n')
    with start() as process:
        await process.says("all 2 processes of")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    (tmp_path / "oban.toml").write_text('module = "shop"\nprocesses = 0\n')
    with start() as process:
        assert await process.ended() == 1
        assert "processes: expected 1 to 1,000 processes, got 0" in process.text


async def test_a_program_that_a_job_starts_has_no_supervisor(start: Start, engine: AsyncEngine, tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text(
        "import os\nfrom oban_sqla import job\n"
        "@job\ndef show() -> None: print('left:', [n for n in os.environ if 'SUPERVISED' in n], flush=True)\n"
    )
    with start("env", "--processes", "2") as process:
        await process.says("all 2 processes of")
        await add(engine, [JobSpec("env.show")])
        await process.says("left: []")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    async with AsyncSession(engine) as session:
        assert (await session.scalar(text("SELECT count(*) FROM oban_producers"))) == 0
