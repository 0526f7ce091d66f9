"""Jobs that nothing runs are not silent: workers that nobody registered, queues that no node runs."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import JobSpec, Oban, Queue, job
from oban_sqla.runtime import once_a_minute, report
from oban_sqla.runtime.duties import lookout
from oban_sqla.workers.registry import workers
from tests.runtime.helpers import insert, until
from tests.support import eventually


@job(name="unfit.send_letter", queue="letters")
async def send_letter() -> None: ...


@job(name="unfit.on_a_gpu", queue="letters", executor="gpu")
def on_a_gpu() -> None: ...


@pytest.fixture(autouse=True)
def only_these_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program whose workers are those of this file."""
    ours = {name: workers[name] for name in workers if name.startswith("unfit.")}
    monkeypatch.setattr(workers, "_by_name", ours)
    monkeypatch.setattr(report, "_unknown", once_a_minute.OnceAMinute())


def said(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level and "queue" in record.name]


async def test_jobs_of_a_worker_that_is_not_imported_are_told_of_once(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine, {"letters": 5}):
        ids = await insert(engine, *(JobSpec("unfit.send_leter", queue="letters") for _ in range(3)))
        for job_id in ids:
            await until(engine, job_id, "scheduled")
        [line] = await eventually(lambda: said(caplog))
    assert line == (
        "jobs of the worker 'unfit.send_leter' can't run here, because no module of this process registers it (did you "
        "mean 'unfit.send_letter'?); import its module, or name it in aliases= of the worker that has replaced it; "
        "they are left to other nodes"
    )
    assert not [record for record in caplog.records if record.name == "oban_sqla.job"]


def test_a_minute_later_it_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    once = once_a_minute.OnceAMinute()
    assert [once.is_due("a"), once.is_due("b"), once.is_due("a")] == [True, True, False]
    monkeypatch.setattr(once_a_minute, "SECONDS", 0.0)
    assert once.is_due("a")


async def test_an_executor_that_the_node_does_not_have_is_told_of(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @job(name="unfit.misspelt", queue="letters", executor="proces")
    def misspelt() -> None: ...

    try:
        async with Oban(engine, {"letters": 5}):
            for job_id in await insert(engine, on_a_gpu.new(), misspelt.new()):
                await until(engine, job_id, "scheduled")
            lines = await eventually(lambda: said(caplog) if len(said(caplog)) == 2 else None)
    finally:
        workers.remove(["unfit.misspelt"])
    assert any("'unfit.on_a_gpu' can't run here: it asks for the executor 'gpu', which" in line for line in lines)
    assert any(
        "the executor 'proces', which this node does not have (did you mean 'process'?)" in line for line in lines
    )


async def test_a_start_names_queues_and_workers(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine, {"letters": 5}, node="here"):
        pass
    assert "Oban started on here with queues letters and 2 workers" in caplog.messages
    assert said(caplog, logging.INFO) == ["queue 'letters' runs 5 at once: unfit.on_a_gpu, unfit.send_letter"]
    assert said(caplog) == []


async def test_a_start_names_what_was_asked_of_its_queues_before(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    away = Oban(engine)
    await insert(engine, send_letter.new())  # so that the queue is known
    await away.pause_queue("letters")
    async with Oban(engine, {"letters": 5}):
        pass
    [line] = said(caplog)
    assert line == (
        "queue 'letters' is paused, by pause_queue, so it starts no jobs; resume_queue('letters') or "
        "`oban-sqla queues resume letters` resumes it"
    )
    await away.resume_queue("letters")
    await away.scale_queue("letters", limit=7)
    caplog.clear()
    async with Oban(engine, {"letters": 5}):
        pass
    assert said(caplog) == []
    assert (
        "queue 'letters' runs 7 at once, as was asked at run time (5 are configured): " in said(caplog, logging.INFO)[0]
    )
    await away.stop_queue("letters")
    caplog.clear()
    async with Oban(engine, {"letters": 5}):
        pass
    assert "queue 'letters' does not run: it was stopped by stop_queue; start_queue('letters') or " in said(caplog)[0]


async def test_a_start_names_a_pool_that_is_smaller_than_the_limits(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @job(name="unfit.with_a_session", queue="letters")
    async def with_a_session(session: AsyncSession) -> None: ...

    def told() -> list[str]:
        return [said for said in caplog.messages if "jobs with a session" in said]

    small = create_async_engine(engine.url, pool_size=2, max_overflow=1, pool_timeout=7)
    try:
        async with Oban(small, {"letters": 3}):
            pass
        assert told() == []
        async with Oban(small, {"letters": 4}):
            pass
        assert told() == [
            "up to 4 jobs with a session run at once in the queues letters, and the pool of their engine has 3 "
            "connections: the others wait for one, and fail after 7 s; give the engine pool_size=4, or lower the limits"
        ]
        caplog.clear()
        async with Oban(create_async_engine(engine.url, max_overflow=-1), {"letters": 40}):
            pass
        assert told() == []
    finally:
        workers.remove(["unfit.with_a_session"])
        await small.dispose()


async def test_a_start_names_a_queue_that_is_configured_as_paused(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine, {"letters": Queue(5, paused=True)}):
        pass
    assert "queue 'letters' is paused, as it is configured, so it starts no jobs; " in said(caplog, logging.INFO)[1]


async def test_a_start_names_queues_that_do_not_fit(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine, {"leters": 5, "default": 1}):
        pass
    assert said(caplog) == [
        "queue 'leters' is not used by any worker of this process; did you mean 'letters'?",
        "queue 'default' is not used by any worker of this process; they use letters",
    ]
    assert said(caplog, logging.INFO) == [
        "queue 'letters' is not run by this node, so it needs another one: workers unfit.on_a_gpu, unfit.send_letter"
    ]


async def test_a_start_without_workers_says_so(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_by_name", {})
    async with Oban(engine, {"letters": 5}):
        pass
    [line] = said(caplog)
    assert line.startswith("no workers are registered in this process, so it can run no jobs")


async def test_a_program_that_only_enqueues_is_told_of_nothing(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine):
        pass
    assert said(caplog) == said(caplog, logging.INFO) == []


async def test_jobs_in_a_queue_that_no_node_runs_are_told_of(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "FIRST", 0.01)
    monkeypatch.setattr(lookout, "EVERY", 0.05)
    monkeypatch.setattr(lookout, "PATIENCE", 0.0)
    async with Oban(engine, {"letters": 5}) as oban:
        await insert(engine, JobSpec("unfit.send_letter", queue="leters"))
        line = await eventually(lambda: next(iter(said(caplog)), None))
        assert line.startswith("jobs wait in the queue 'leters', the oldest for ")
        assert "and no node runs it (did you mean 'letters'?)" in line
        assert "`oban-sqla queues start leters --limit 10`" in line

        await oban.start_queue("leters", 1)
        await eventually(lambda: "leters" in {info.queue for info in oban.check_queues()})
        await oban.stop_queue("leters")
        await eventually(lambda: "leters" not in {info.queue for info in oban.check_queues()})
        await insert(engine, JobSpec("unfit.send_letter", queue="leters"))
        looks = await _looks(oban, 0)
        caplog.clear()
        await _looks(oban, looks)
        assert said(caplog) == [], "it was stopped on purpose"


async def _looks(oban: Oban, more_than: int) -> int:
    """Wait for two looks of the lookout from now on."""
    assert oban._node is not None
    [loop] = [loop for loop in oban._node.loops if isinstance(loop, lookout.Lookout)]
    await eventually(lambda: loop.looks >= more_than + 2)
    return loop.looks
