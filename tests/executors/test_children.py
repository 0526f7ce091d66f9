"""Jobs in child processes: what they return, how they end, and what becomes of their children."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from oban_sqla import InvalidOption, Job, Oban, Processes, telemetry
from tests.executors import jobs
from tests.executors.patience import eventually, finished, until
from tests.processes import running
from tests.runtime.helpers import execute, insert, load

ONE = Processes(size=1, sessionmaker="tests.executors.jobs:Session")


@pytest.fixture
async def oban(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Oban]:
    """A node with two children at most."""
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    processes = Processes(size=2, sessionmaker="tests.executors.jobs:Session")
    maker = async_sessionmaker(engine, expire_on_commit=False)
    async with Oban(engine, queues={"children": 10}, sessionmaker=maker, processes=processes, shutdown_grace=1) as oban:
        yield oban


@pytest.fixture
def told() -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """The ends of jobs, as telemetry tells them."""
    told: list[tuple[str, Mapping[str, Any]]] = []
    telemetry.attach("ends", ["oban.job.stop", "oban.job.exception"], lambda name, fields: told.append((name, fields)))
    yield told
    telemetry.detach("ends")


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return False


async def test_functions_and_coroutines_and_classes_run_in_other_processes(oban: Oban, engine: AsyncEngine) -> None:
    ids = await insert(engine, jobs.square.new(3), jobs.square_later.new(4), jobs.Classic.new({"name": "é"}))
    plain, later, classic = await finished(engine, ids)
    assert plain.meta["return"]["square"] == 9
    assert later.meta["return"]["square"] == 16
    assert classic.meta["return"] == [ids[2], "é", 1]
    assert os.getpid() not in (plain.meta["return"]["pid"], later.meta["return"]["pid"])


async def test_a_sessionmaker_that_a_worker_can_not_use_fails_the_start(engine: AsyncEngine) -> None:
    maker = async_sessionmaker(engine)
    for name, said in (
        ("tests.executors.jobs:Sesion", "there is no sessionmaker 'tests.executors.jobs:Sesion': .* has no 'Sesion'"),
        ("tests.executors.jobs:PlainSession", "of the kind AsyncSession, and .*:PlainSession makes none; name another"),
    ):
        processes = Processes(size=1, sessionmaker=name)
        with pytest.raises(InvalidOption, match=said):
            await Oban(engine, {"children": 1}, sessionmaker=maker, processes=processes).start()


async def test_what_a_job_decides_in_a_child_counts_as_at_home(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture, told: list[tuple[str, Mapping[str, Any]]]
) -> None:
    snooze, cancel, discard, fail = await insert(
        engine, *(jobs.decide.new(w) for w in ("snooze", "cancel", "discard", "x"))
    )
    assert (await until(engine, snooze, "scheduled")).meta["snoozed"] == 1
    assert (await until(engine, cancel, "cancelled")).errors[0]["error"] == "enough"
    assert (await until(engine, discard, "discarded")).errors[0]["error"] == "never"
    error = (await until(engine, fail, "retryable")).errors[0]["error"]
    assert "ValueError: x" in error
    assert "tests/executors/jobs.py" in error
    ended = await eventually(lambda: {fields["job_id"]: name for name, fields in told} if len(told) == 4 else None)
    assert ended == dict.fromkeys((snooze, cancel, discard), "oban.job.stop") | {fail: "oban.job.exception"}
    [line] = [record.getMessage() for record in caplog.records if f"job {discard} " in record.getMessage()]
    assert "was discarded after" in line


async def test_a_child_that_dies_costs_its_job_one_attempt_and_no_other_job_anything(
    oban: Oban, engine: AsyncEngine
) -> None:
    words = {"exit": "status 3", "kill": "SIGKILL", "abort": "SIGABRT"}
    ids = await insert(engine, *map(jobs.die.new, words), *(jobs.burn.new(0.05) for _ in range(10)))
    for dying, word in zip(ids, words.values(), strict=False):
        job = await until(engine, dying, "retryable")
        assert word in job.errors[0]["error"]
        assert (job.attempt, job.meta["crashes"]) == (1, 1)
    assert all(other.attempt == 1 for other in await finished(engine, ids[len(words) :]))


async def test_the_pool_is_whole_again_after_a_child_was_killed_without_a_job_that_asks(
    oban: Oban, engine: AsyncEngine
) -> None:
    await finished(engine, await insert(engine, *(jobs.burn.new(0.05) for _ in range(10))))
    before = await eventually(lambda: pids if len(pids := children(oban)) == 2 else None)
    os.kill(before[0], signal.SIGKILL)
    # How long it takes is measured by benchmarks.deaths: here it depends on what else the machine does.
    await eventually(lambda: len(children(oban)) == 2 and before[0] not in children(oban) and ready(oban) == 2)


def has_crashed(times: int, job: Job) -> bool:
    return job.meta.get("crashes") == times and job.state == "retryable"


async def test_a_job_that_kills_its_child_three_times_is_discarded_as_poison(oban: Oban, engine: AsyncEngine) -> None:
    [poison] = await insert(engine, jobs.die.new("kill"))
    for crashes in (1, 2):
        await until(engine, poison, partial(has_crashed, crashes))
        await oban.retry(poison)
    job = await until(engine, poison, "discarded")
    assert "poison: 3 processes ended" in job.errors[-1]["error"]


async def test_a_loop_in_c_is_killed_by_its_timeout(oban: Oban, engine: AsyncEngine) -> None:
    await eventually(lambda: ready(oban))
    began = time.monotonic()
    [stuck] = await insert(engine, jobs.spin.new())
    job = await until(engine, stuck, "retryable")
    assert "longer than its timeout of 0.2 s" in job.errors[0]["error"]
    assert time.monotonic() - began < 10
    await finished(engine, await insert(engine, jobs.square.new(2)))  # the pool goes on


async def test_children_that_are_killed_because_of_a_timeout_are_replaced_without_a_pause(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    assert oban._life.places is not None
    for stuck in await insert(engine, *(jobs.spin.new() for _ in range(3))):
        await until(engine, stuck, "retryable")
    assert oban._life.places._pool._pause() == 0
    assert "perhaps out of memory" not in caplog.text


async def test_a_coroutine_that_takes_too_long_may_clean_up(oban: Oban, engine: AsyncEngine, tmp_path: Path) -> None:
    [slow] = await insert(engine, jobs.dawdle.new(str(tmp_path / "file")))
    job = await until(engine, slow, "retryable")
    assert "longer than its timeout of 1 s" in job.errors[0]["error"]
    assert (tmp_path / "file").read_text() == "cleaned up"


async def test_a_cancelled_job_is_told_or_killed(oban: Oban, engine: AsyncEngine, tmp_path: Path) -> None:
    told, killed = await insert(engine, jobs.patient.new(), jobs.hold.new(str(tmp_path / "pids")))
    pids = json.loads(await eventually(lambda: _read(tmp_path / "pids")))
    await until(engine, told, "executing")
    assert await oban.cancel([told, killed]) == 2
    for cancelled in (told, killed):
        assert "cancelled by request" in (await until(engine, cancelled, "cancelled")).errors[-1]["error"]
    await eventually(lambda: not any(is_alive(pid) for pid in pids))  # with what the job had started


async def test_a_stop_gives_the_jobs_back_and_leaves_no_process(
    oban: Oban, engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oban_sqla.node")
    ids = await insert(engine, *(jobs.hold.new(str(tmp_path / str(n))) for n in range(4)))  # two of them wait
    at_work = [json.loads(await eventually(partial(_read, tmp_path / str(n)))) for n in range(2)]
    pids = children(oban)
    assert await oban.stop() == []
    for job_id in ids:
        job = await load(engine, job_id)
        assert (job.state, job.attempt) == ("available", 0)
    assert not any(is_alive(pid) for pid in [*pids, *at_work[0], *at_work[1]])
    assert "a child process was killed because its job did not stop" in caplog.text
    assert "another one is being started" not in caplog.text


async def test_a_job_that_waits_for_a_child_says_so(oban: Oban, engine: AsyncEngine, tmp_path: Path) -> None:
    await insert(engine, *(jobs.hold.new(str(tmp_path / str(n))) for n in range(2)))
    for n in range(2):
        await eventually(partial(_read, tmp_path / str(n)))
    [waiting] = await insert(engine, jobs.square.new(5))
    await until(engine, waiting, "executing")

    async def codes() -> list[str]:
        return [reason.code for reason in (await oban.why(waiting)).reasons]

    assert oban._node is not None
    oban._node.liveness.wake()  # the next heartbeat tells it
    await eventually(lambda: _is(codes(), ["waits_for_child", "executing"]))
    health = await oban.health()
    assert health.ok
    assert health.children == tuple(children(oban))
    assert json.loads(json.dumps(health.as_dict()))["children"] == list(health.children)


async def _is(given: Awaitable[object], expected: object) -> bool:
    return await given == expected


async def test_a_child_is_replaced_after_so_many_jobs(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    async with Oban(engine, queues={"children": 2}, processes=replace(ONE, max_jobs=3)) as oban:
        done = await finished(engine, await insert(engine, *(jobs.square.new(n) for n in range(9))))
        pids = [job.meta["return"]["pid"] for job in sorted(done, key=lambda job: job.id)]
        assert max(Counter(pids).values()) == 3
        assert len(set(pids)) == 3
        await eventually(lambda: not any(is_alive(pid) for pid in set(pids) - set(children(oban))))


async def test_a_child_is_replaced_when_it_keeps_too_much_memory(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    async with Oban(engine, queues={"children": 1}, processes=replace(ONE, max_memory=400_000_000)):
        pids: list[int] = []
        for size in (1_000, 500_000_000, 1_000):
            [grown] = await finished(engine, await insert(engine, jobs.grow.new(size)))
            pids.append(grown.meta["return"])
    assert pids[0] == pids[1] != pids[2]


async def test_a_node_that_is_killed_takes_its_children_with_it(engine: AsyncEngine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    start = ["-m", "oban_sqla", "start", "tests.executors.jobs:Session", "--queues", "children=2"]
    with running(start, tmp_path / "log", environment={"OBAN_TEST_CHILD_URL": url}) as node:
        await insert(engine, jobs.hold.new(str(tmp_path / "pids")))
        pids = json.loads(await eventually(lambda: _read(tmp_path / "pids")))
        assert all(map(is_alive, pids))
        node.signal(signal.SIGKILL)
        await node.ended()
        await eventually(lambda: not any(map(is_alive, pids)))


async def test_what_a_job_logs_in_a_child_is_logged_by_its_node(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await finished(engine, await insert(engine, jobs.talk.new("hello")))
        [record] = [record for record in caplog.records if record.name == "tests.executors"]
    assert record.getMessage() == "the job says hello"
    assert record.__dict__["word"] == "hello"
    assert record.process != os.getpid()


async def test_records_of_a_child_name_the_job_in_which_they_were_made(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(filter := telemetry.JobFilter())
    try:
        with caplog.at_level(logging.INFO):
            [job_id] = await insert(engine, jobs.talk.new("hello"))
            await finished(engine, [job_id])
            [record] = [record for record in caplog.records if record.name == "tests.executors"]
    finally:
        caplog.handler.removeFilter(filter)
    named = {name: record.__dict__[name] for name in ("job_id", "worker", "queue", "attempt")}
    assert named == {"job_id": job_id, "worker": "tests.executors.jobs.talk", "queue": "children", "attempt": 1}


async def test_a_failure_in_a_child_is_logged_with_the_traceback_of_the_child(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    [job_id] = await insert(engine, jobs.break_down.new())
    await until(engine, job_id, "discarded")
    record = await eventually(lambda: next((r for r in caplog.records if r.name == "oban_sqla.job"), None))
    assert record.levelname == "ERROR"
    assert "failed in attempt 1 of 1 and is discarded" in record.getMessage()
    assert record.exc_text is not None
    assert "ChildError: ValueError: no way" in record.exc_text
    assert record.exc_info is not None
    assert not hasattr(record.exc_info[1], "message"), "Sentry would take it for the text, which names the type"
    assert 'raise ValueError("no way")' in record.exc_text, "the line of the job, which only the child knows"


async def test_what_the_database_refuses_in_a_child_is_logged_without_what_was_sent(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    [job_id] = await insert(engine, jobs.refused.new("hunter2"))
    await until(engine, job_id, "discarded")
    record = await eventually(lambda: next((r for r in caplog.records if r.name == "oban_sqla.job"), None))
    written = logging.Formatter().format(record)
    assert "no_such_column" in written
    assert "tests/executors/jobs.py" in written
    assert "hunter2" not in written


async def test_effects_in_a_child_happen_once_though_children_are_killed(oban: Oban, engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE IF NOT EXISTS child_sums (total bigint NOT NULL)")
    try:
        await execute(engine, "INSERT INTO child_sums VALUES (0)")
        await insert(engine, *(jobs.add.options(max_attempts=30).new(amount=n) for n in range(200)))
        killed = 0

        async def all_done() -> bool:
            # By what is done and not by the clock: a slow machine is given as few deaths as a quick one.
            nonlocal killed
            await oban.retry(_retryable())
            left = await unfinished(engine)
            if killed < 5 and left <= 180 - 30 * killed:
                killed += kill_one_at_work(oban)
            return not left

        await eventually(all_done, timeout=120)
        [[total, again]] = await execute(
            engine, "SELECT total, (SELECT count(*) FROM oban_jobs WHERE attempt > 1) FROM child_sums"
        )
        assert total == sum(range(200))
        assert again > 0
    finally:
        await execute(engine, "DROP TABLE child_sums")


SLOW_COMMITS = """
CREATE TABLE slow_commits (n int);
CREATE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_commits DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION commit_slowly()
"""


async def test_a_job_whose_timeout_comes_while_its_transaction_commits_is_told_as_what_it_is(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture, told: list[tuple[str, Mapping[str, Any]]]
) -> None:
    for statement in SLOW_COMMITS.split(";\n"):
        await execute(engine, statement)
    try:
        [job_id] = await insert(engine, jobs.commit_slowly.new())
        done = await until(engine, job_id, "completed")
        await eventually(lambda: told)
        assert (done.attempt, done.errors) == (1, [])
        [(name, fields)] = told
        assert (name, fields["state"]) == ("oban.job.stop", "completed")
        assert (await execute(engine, "SELECT count(*) FROM slow_commits"))[0][0] == 1
        assert "given to another run" not in caplog.text
    finally:
        await execute(engine, "DROP TABLE slow_commits")
        await execute(engine, "DROP FUNCTION commit_slowly")


async def test_what_a_child_commits_wakes_its_node_without_a_poll(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    async with Oban(engine, queues={"children": 2}, processes=ONE, poll_interval=300.0, shutdown_grace=1) as oban:
        [asking] = await oban.enqueue(jobs.enqueue_more.new())
        assert asking.id is not None
        await until(engine, asking.id, "completed")
        await until(engine, asking.id + 1, "completed")


async def test_a_job_whose_executor_no_node_has_waits_for_one(oban: Oban, engine: AsyncEngine) -> None:
    [stranded] = await insert(engine, jobs.stranded.new())
    job = await until(engine, stranded, "scheduled")
    assert (job.attempt, job.errors) == (0, [])


def kill_one_at_work(oban: Oban) -> int:
    """Kill a child at work; one that is only starting is left alone. How many that were."""
    assert oban._life.places is not None
    busy = [child for child in oban._life.places._pool._all if child._done is not None]
    if busy:
        os.kill(random.choice(busy).pid, signal.SIGKILL)
    return len(busy[:1])


def _retryable() -> Any:
    return select(Job).where(Job.state == "retryable")


async def unfinished(engine: AsyncEngine) -> int:
    [[count]] = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'")
    return int(count)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def children(oban: Oban) -> list[int]:
    """The process ids of the node's children that live."""
    assert oban._life.places is not None
    return [pid for pid in oban._life.places.pids if pid and is_alive(pid)]


def ready(oban: Oban) -> int:
    """How many children wait for a call."""
    assert oban._life.places is not None
    return len(oban._life.places._pool._idle)
